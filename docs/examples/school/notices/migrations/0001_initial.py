"""The table of notices, as `makemigrations` wrote it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Make notices."""

    initial = True
    dependencies = (("register", "0001_initial"),)
    operations = (
        migrations.CreateModel(
            name="Notice",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("text", models.TextField()),
                ("written_at", models.DateTimeField(auto_now_add=True)),
                (
                    "absence",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, to="register.absence"
                    ),
                ),
                (
                    "school",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="register.school"
                    ),
                ),
            ],
        ),
    )
