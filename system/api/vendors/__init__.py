"""The vendors: how each signs its events, and where it has their id, type and time.

One module a vendor, each with one class. A signature is compared in constant time, over the bytes
that arrived, before anything parses them.
"""

from __future__ import annotations

from pathlib import Path

from system.api.vendors.paypal import Paypal
from system.api.vendors.shopify import Shopify
from system.api.vendors.stripe import Stripe
from system.api.vendors.vendor import Vendor
from system.api.vendors.woocommerce import Woocommerce


def vendors_with(certificates: Path) -> dict[str, Vendor]:
    """Return each vendor by its name.

    Args:
        certificates: the folder with the certificates of PayPal.

    """
    return {
        "shopify": Shopify(),
        "stripe": Stripe(),
        "paypal": Paypal(certificates),
        "woocommerce": Woocommerce(),
    }
