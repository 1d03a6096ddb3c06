"""`gateproof rejudge`, from recorded claims and by playing checks back."""
