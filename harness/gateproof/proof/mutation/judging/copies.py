"""The copies of the system with one mutant.

Checks that leave nothing behind share one copy, as they share the stack of a run; a check that
changes what it works on gets its own. The mutant is made in each copy when the copy is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateproof.base.errors import HarnessError
from gateproof.faults.interface import Fault
from gateproof.proof.mutation.judging.change import SameError, VoidError
from gateproof.proof.proof import ProofItem
from gateproof.stack.bring_up import BringUp
from gateproof.stack.copy import Copy
from gateproof.stack.stopwatch import LANDING


@dataclass(kw_only=True)
class MutantCopies:
    """The copies of one mutant; with `inert`, with a change that does not matter instead."""

    bring_up: BringUp
    fault: Fault
    inert: bool = False
    _shared: dict[bool, Copy] = field(default_factory=dict)
    _own: list[Copy] = field(default_factory=list)

    def shared(self, *, stack: bool) -> Copy:
        """Return the copy that checks share.

        Args:
            stack: whether they work on a database.

        Raises:
            VoidError: the mutant cannot be made.
            SameError: the system is the same with it.

        """
        if stack not in self._shared:
            self._shared[stack] = self._make(own_server=False, stack=stack, migrated=True)
        return self._shared[stack]

    def of(self, item: ProofItem) -> Copy:
        """Return the copy for one check; errors are those of `shared`."""
        if not item.needs_stack or item.shares_stack:
            return self.shared(stack=item.needs_stack)
        copy = self._make(
            own_server=item.needs_own_server, stack=True, migrated=item.needs_migrations
        )
        self._own.append(copy)
        return copy

    def end(self) -> None:
        """Dispose of the copies that one check had for itself."""
        for copy in self._own:
            copy.dispose()
        self._own.clear()

    def renew(self) -> None:
        """Dispose of the shared copies: a check that ended early may have left something there."""
        for copy in self._shared.values():
            copy.dispose()
        self._shared.clear()

    def dispose(self) -> None:
        """Dispose of all copies."""
        self.end()
        self.renew()

    def _make(self, *, own_server: bool, stack: bool, migrated: bool) -> Copy:
        copy = Copy.make(
            self.bring_up,
            tree=self.fault.tree,
            own_server=own_server or self.fault.scope == "server",
            needs_stack=stack,
            migrated=migrated,
        )
        try:
            self._change(copy)
        except BaseException:
            copy.dispose()
            raise
        return copy

    def _change(self, copy: Copy) -> None:
        with self.bring_up.stopwatch.step(LANDING):
            if self.inert:
                self.fault.change_inertly(copy)
                return
            try:
                self.fault.inject(copy)
            except (VoidError, SameError):
                raise
            except HarnessError as error:
                raise VoidError(str(error)) from error
