"""Serve the released contracts as mock servers: `python -m system.mocks start|stop|status`.

Owns which contract is served on which port, the process that serves them, and its record. ADR 31
has the decisions.

- `servers` names domains, ports and documents; `installation` finds Node, and finds or installs
  Prism.
- `record` keeps which process serves; `running` starts and stops it and asks for its state.
- `serve.js` runs in Node and serves with Prism.
"""
