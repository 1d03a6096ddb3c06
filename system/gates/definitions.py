"""Every object of the system's schema as one line, so that two states can be compared.

Owns the query. Leaves out owners and privileges, which `test_roles` judges, and the system schemas.
Two things that versions of PostgreSQL show in different ways are left out: the constraints that
PostgreSQL 18 has for columns that are NOT NULL, and the names of tables before columns of a view.

Source: PostgreSQL documentation, "System Catalogs".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
RELATIONS = f"pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND {OURS}"
LINES = f"""
    SELECT 'relation ' || c.relname, concat_ws(', ', 'kind ' || c.relkind::text,
        CASE WHEN c.relrowsecurity THEN 'row security' END,
        CASE WHEN c.relforcerowsecurity THEN 'forced' END,
        CASE c.relpersistence WHEN 'p' THEN NULL ELSE 'persistence ' || c.relpersistence::text END,
        array_to_string(c.reloptions, ' '))
    FROM {RELATIONS} WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT 'column ' || c.relname || '.' || t.attname, concat_ws(', ',
        format_type(t.atttypid, t.atttypmod), CASE WHEN t.attnotnull THEN 'not null' END,
        'default ' || pg_get_expr(d.adbin, d.adrelid), nullif(t.attidentity::text, ''),
        nullif(t.attgenerated::text, ''))
    FROM {RELATIONS} JOIN pg_attribute t ON t.attrelid = c.oid AND t.attnum > 0
        AND NOT t.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = t.attnum
    WHERE c.relkind IN ('r', 'p', 'v', 'm')
    UNION ALL
    SELECT 'constraint ' || c.relname || '.' || k.conname,
        pg_get_constraintdef(k.oid) || CASE WHEN k.convalidated THEN '' ELSE ', not valid' END
    FROM {RELATIONS} JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype <> 'n'
    UNION ALL
    SELECT 'index ' || i.relname,
        pg_get_indexdef(i.oid) || CASE WHEN x.indisvalid THEN '' ELSE ', invalid' END
    FROM {RELATIONS} JOIN pg_index x ON x.indrelid = c.oid JOIN pg_class i ON i.oid = x.indexrelid
    UNION ALL
    SELECT 'policy ' || c.relname || '.' || p.polname, concat_ws(', ',
        CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'
            WHEN 'd' THEN 'delete' ELSE 'all' END,
        CASE WHEN p.polpermissive THEN NULL ELSE 'restrictive' END,
        'to ' || array_to_string(ARRAY(SELECT coalesce(nullif(r, 0)::regrole::text, 'PUBLIC')
                                       FROM unnest(p.polroles) r ORDER BY 1), ' '),
        'using ' || pg_get_expr(p.polqual, p.polrelid),
        'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
    FROM {RELATIONS} JOIN pg_policy p ON p.polrelid = c.oid
    UNION ALL
    SELECT 'trigger ' || c.relname || '.' || g.tgname,
        pg_get_triggerdef(g.oid) || ', enabled ' || g.tgenabled::text
    FROM {RELATIONS} JOIN pg_trigger g ON g.tgrelid = c.oid AND NOT g.tgisinternal
    UNION ALL
    SELECT 'view ' || c.relname,
        regexp_replace(pg_get_viewdef(c.oid), '(?<!'')\\m[a-z_]+\\.', '', 'g')
    FROM {RELATIONS} WHERE c.relkind IN ('v', 'm')
    UNION ALL
    SELECT 'sequence ' || c.relname, format('%s, from %s, step %s, up to %s%s',
        format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmax,
        CASE WHEN s.seqcycle THEN ', cycles' ELSE '' END)
    FROM {RELATIONS} JOIN pg_sequence s ON s.seqrelid = c.oid
    UNION ALL
    SELECT 'function ' || p.proname, concat_ws(', ', pg_get_function_arguments(p.oid),
        pg_get_function_result(p.oid), 'volatility ' || p.provolatile::text,
        CASE WHEN p.prosecdef THEN 'security definer' END,
        CASE WHEN p.proisstrict THEN 'strict' END, CASE WHEN p.proleakproof THEN 'leakproof' END,
        'parallel ' || p.proparallel::text, array_to_string(p.proconfig, ' '),
        'md5 ' || md5(regexp_replace(p.prosrc, '\\s+', ' ', 'g')))
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND {OURS}
    UNION ALL
    SELECT 'type ' || t.typname, ARRAY(SELECT e.enumlabel FROM pg_enum e
        WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)::text
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND {OURS}
    WHERE t.typtype IN ('d', 'e', 'r')
    ORDER BY 1, 2
"""
"""A query of two columns: kind and name of an object, and its definition."""


def read(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the definitions by kind and name, each on one line."""
    return {name: " ".join((text or "").split()) for name, text in rows}


def differences(got: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Return what differs, in words that name the object: missing, left over, or changed."""
    missing = [f"missing {name}" for name in sorted(expected.keys() - got.keys())]
    more = [f"left over {name}" for name in sorted(got.keys() - expected.keys())]
    changed = [
        f"changed {name}: got {got[name]}, expected {expected[name]}"
        for name in sorted(got.keys() & expected.keys())
        if got[name] != expected[name]
    ]
    return missing + more + changed
