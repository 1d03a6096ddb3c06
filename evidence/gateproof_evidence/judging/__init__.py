"""The rules that turn a journal into verdicts, proofs and a result. Pure."""
