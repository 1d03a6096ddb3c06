"""`gateproof show` and its forms: the gates, one gate, one criterion, the phases."""
