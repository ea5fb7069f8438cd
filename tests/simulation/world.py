"""Two cores face to face: the producer's and the endpoint's, in one seeded, simulated world.

`World(seed)` draws a plan (streams, media, hazards), lets it happen in simulated time, turns kind
and sees everything come to rest. After every step and at the end it checks the promise: a frame
that `put_frame` accepted is stored unchanged, or was reported as dropped, or is still held; the
books agree with what was really stored; the service saw valid Matroska only; memory stayed within
the storage size; nothing is stuck; nothing but the documented errors leaves the core.

    python -m tests.simulation.world --seeds 5000:6000 [--jobs 2]
    python -m tests.simulation.world --seed 5123 --trace

It does not cover: real sockets and threads, a process that dies.
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter

from tests.simulation.audit import Audit
from tests.simulation.books import Books, Broken, Outcome
from tests.simulation.clock import SimulatedClock
from tests.simulation.conditions import LONG_STORM, Conditions, Plan
from tests.simulation.service import Connection, Service
from tests.simulation.uploads import SimulatedUpload
from tests.simulation.writers import Writer

from kvsproducer import client as core
from kvsproducer.client.events import Event
from kvsproducer.duration import TICKS_PER_MS, TICKS_PER_SECOND, ticks
from kvsproducer.endpoint.fragment import Fragment
from kvsproducer.heap import ContentStore, ReferenceStore
from kvsproducer.status import StatusCode

__all__ = ["Outcome", "World", "main", "run"]

_START = 17_000_000_000_000_000  # a moment in 2023
_OVERTIME = 5 * TICKS_PER_SECOND  # of a session whose token has expired
_MILESTONE = 1000  # worlds between two lines that say how far a long run is
_IDLE_CUTS = 6  # of an idle connection, by the network
_PATIENCE = 240 * TICKS_PER_SECOND  # in which a kind world must come to rest


class World:
    """Everything in one place; `run` lets it happen and raises `Broken`."""

    make_store: Callable[[int], ContentStore] = ReferenceStore  # of so many bytes

    def __init__(
        self, seed: int, plan: Plan | None = None, print_line: Callable[[str], None] | None = None
    ) -> None:
        self.dice = random.Random(seed)
        self.source_dice = random.Random(f"sources of {seed}")
        self.plan = plan or Plan.drawn(self.dice)
        self._print_line = print_line
        self.clock = SimulatedClock(_START)
        self.books: list[Books] = []
        self.uploads: dict[int, SimulatedUpload] = {}
        self.upload_count = 0
        self.deaf = False
        self.stormy = True
        self.errors: list[Event] = []
        self._timer: int | None = None
        plan = self.plan
        self._audit = Audit(self.books, complete=plan.complete)
        self.service = Service(
            self.clock,
            self.dice,
            token_life=plan.token_life,
            created=not plan.listed_later,
            retention={info.name: ticks(info.retention) for info in plan.streams},
            record=self._record,
            refused=self._check_refusal,
            trace=self.trace,
        )
        device = core.DeviceInfo(
            name="simulated",
            storage_info=core.StorageInfo(storage_size=plan.storage_bytes),
            client_info=core.ClientInfo(automatic_streaming_flags=0 if plan.intermittent else 256),
        )
        store = self.make_store(plan.storage_bytes)
        self.client = core.Client(
            device,
            now=self.clock.now,
            dice=self.dice.randrange,
            wall=lambda _: self.clock.wall,
            store=store,
        )
        self.writers = [
            Writer(self, info, shot, plan.storm // shot.interval)
            for info, shot in zip(plan.streams, plan.shots, strict=True)
        ]
        self.trace("world", seed=seed, plan=plan)

    def trace(self, what: str, **details: object) -> None:
        """Print what happens, if somebody wants to see it."""
        if self._print_line is not None:
            seconds = (self.clock.now - _START) / TICKS_PER_SECOND
            told = " ".join(f"{name}={value!r}" for name, value in details.items())
            self._print_line(f"{seconds:10.4f} {what} {told}")

    # --- letting it happen ----------------------------------------------------------------------
    def run(self) -> None:
        """The storm, then kind times, then the end."""
        self._begin_storm()
        self._let_happen(self.plan.storm)
        self._end_storm()
        self._come_to_rest()
        self._close()

    def _let_happen(self, ticks: int, done: Callable[[], bool] | None = None) -> bool:
        """Let things happen for so long, or until `done`; whether it is done."""
        until = self.clock.now + ticks
        self.settle()
        while done is None or not done():
            action = self.clock.advance(until)
            if action is None:
                return done is None
            action()
            self.settle()
        return True

    def settle(self) -> None:
        """Carry out what the core asks for, take what it tells, check what must always hold."""
        client = self.client
        while (effect := client.poll_effect()) is not None:
            self._carry_out(effect)
        if not self.deaf:
            self.hear()
        timer = client.next_timer()
        if timer is not None and (self._timer is None or timer < self._timer):
            self._timer = timer
            self.clock.later(timer - self.clock.now, self._on_timer)
        if not 0 <= client.store.used_bytes <= client.store.size_bytes:
            raise Broken(f"{client.store.used_bytes} bytes of {client.store.size_bytes} are used")
        for writer in self.writers:
            writer.books.check_account(writer.stream.account(), heard=not self.deaf)
            if not self.deaf:
                writer.books.check_stored_until(writer.stream.stored_until)

    def _on_timer(self) -> None:
        self._timer = None
        self.client.handle_timer(self.clock.now)

    def _carry_out(self, effect: core.Effect) -> None:
        self.trace("effect", effect=effect)
        if isinstance(effect, core.DataAvailable):
            if effect.upload in self.uploads:
                self.uploads[effect.upload].wake()
        elif isinstance(effect, core.PutStream):
            self._open_upload(effect)
        elif isinstance(effect, core.Call):
            self._call(effect)
        elif isinstance(effect, core.UploadAborted):
            if effect.upload in self.uploads:
                self.uploads[effect.upload].abort()
        else:
            for writer in self.writers:
                if writer.info.name == effect.stream:
                    writer.wake()

    def _call(self, call: core.Call) -> None:
        self.clock.later(max(0, call.not_before - self.clock.now), lambda: self._make(call))

    def _make(self, call: core.Call) -> None:
        """The call leaves: its answer is made now, and comes later."""
        delay, result, answer = self.service.answer(call)
        void = self.service.is_void(call)

        def answered() -> None:
            if void:
                self.client.renew_auth(self.clock.now)  # as the shell does
            self.trace("result", call=type(call).__name__, stream=call.stream, result=result)
            self.client.call_result(call, result, self.clock.now, answer, "simulated")

        self.clock.later(delay, answered)

    def _open_upload(self, call: core.PutStream) -> None:
        stream = self.client.streams.get(call.stream or "")
        if stream is None:
            return  # freed meanwhile
        self.upload_count += 1
        upload = SimulatedUpload(self, stream, call)
        self.uploads[call.upload] = upload
        self.clock.later(max(0, call.not_before - self.clock.now), upload.start)

    def forget(self, upload: SimulatedUpload) -> None:
        """An upload is over."""
        self.uploads.pop(upload.number, None)

    # --- what is told, and what is stored -------------------------------------------------------
    def hear(self) -> None:
        """Take all events."""
        while (event := self.client.next_event()) is not None:
            self.trace("event", event=event)
            if isinstance(event, core.StreamErrorReported | core.ClientErrorReported):
                self.errors.append(event)
            for writer in self.writers:
                if writer.info.name == event.stream:
                    writer.books.note_event(event)

    def _record(self, name: str, connection: Connection, fragment: Fragment) -> None:
        """The service has stored a fragment: compare it with what was put."""
        self.trace("stored", stream=name, upload=connection.upload, number=fragment.info.number)
        if any(books.silences and books.mistimed for books in self.books):
            self.hear()  # of times that were corrected, which cannot be foreseen
        # Once a film is over its last fragment stays open: nobody puts a key frame.
        filming = self.stormy and not any(w.finished for w in self.writers if w.info.name == name)
        late = connection.expires + self._overtime(name) < self.clock.now
        if self.plan.calm and filming and late:
            raise Broken(f"upload {connection.upload} goes on after its token has expired")
        self._audit.record(name, connection, fragment)

    def _overtime(self, name: str) -> int:
        """How long a session may outlive its token: the next key frame begins another."""
        shots = zip(self.plan.streams, self.plan.shots, strict=True)
        return _OVERTIME + sum(shot.longest_gop for info, shot in shots if info.name == name)

    def _check_refusal(self, connection: Connection) -> None:
        refusal = connection.session.refusal
        if refusal and not refusal.startswith(self._explained(connection.name)):
            raise Broken(f"the service refused upload {connection.upload}: {refusal}")

    def _explained(self, name: str) -> tuple[str, ...]:
        """Refusals that are not the core's fault: hazards, and media that must be refused."""
        (info,) = (info for info in self.plan.streams if info.name == name)
        allowed = ["5001"] if self.plan.storm < LONG_STORM else ["5001", "4002"]  # few key frames
        if len(info.tracks) > 1:
            allowed.append("4011")  # a fragment that ended before the other track had a frame
        refuses = info.store_pressure_policy is core.StorePressurePolicy.OOM  # key frames, too
        if self.plan.conditions.meddling or refuses:
            allowed += ["4002", "4009"]  # a camera that was off
        return tuple(allowed)

    # --- the storm ------------------------------------------------------------------------------
    def _begin_storm(self) -> None:
        hazards = self.service.conditions = self.plan.conditions
        for rate, fault, action in (
            (hazards.restarts, "restart", self.service.restart),
            (hazards.clock_steps, "clock step", self._step_clock),
            (hazards.void_credentials, "void credentials", self.service.void_credentials),
            (hazards.cuts, "cut", self._cut),
            (hazards.stalls, "stall", self._stall),
            (hazards.silences, "silence", self._silence),
            (hazards.error_acks, "error ack", self._refuse),
            (hazards.unsaid_ends, "unsaid end", self._end_upload),
            (hazards.meddling, "meddling", self._meddle),
        ):
            if rate:
                self._repeat(rate, fault, action)
        if hazards.deaf:
            self._repeat(0.5, "deaf", self._turn_away)
        if hazards.kills_expired:
            self._repeat(1.0, "expiry check", self._kill_expired)

    def _repeat(self, rate: float, fault: str, action: Callable[[], None]) -> None:
        """Have a hazard strike at random moments, so often per second, until the storm ends."""

        def strike() -> None:
            if self.stormy:
                self.service.chance(1.0, fault)
                action()
                again()

        pace = 1 if self.plan.storm < LONG_STORM else 60 * TICKS_PER_SECOND / self.plan.storm

        def again() -> None:
            self.clock.later(int(self.dice.expovariate(rate * pace) * TICKS_PER_SECOND), strike)

        again()

    def _upload(self) -> SimulatedUpload | None:
        connected = [upload for upload in self.uploads.values() if upload.link is not None]
        return self.dice.choice(connected) if connected else None

    def _cut(self) -> None:
        upload = self._upload()
        if upload is not None and upload.link is not None:
            byte = self.dice.choice((0, self.dice.randrange(100), self.dice.randrange(20_000)))
            upload.link.cut_at(byte, upwards=self.dice.random() < 0.7)

    def _stall(self) -> None:
        upload = self._upload()
        if upload is not None and upload.link is not None:
            ticks = self.dice.choice((1, 8, 45)) * TICKS_PER_SECOND
            self.dice.choice((upload.link.up, upload.link.down)).stall(ticks)

    def _silence(self) -> None:
        upload = self._upload()
        if upload is not None and upload.link is not None:
            upload.link.silence()

    def _refuse(self) -> None:
        upload = self._upload()
        if upload is not None and upload.connection is not None:
            upload.connection.refuse()

    def _end_upload(self) -> None:
        upload = self._upload()
        if upload is not None and upload.connection is not None:
            upload.connection.finish(self.dice.choice((200, 200, 403, 500)))

    def _kill_expired(self) -> None:
        for connection in list(self.service.connections):
            if connection.expires <= self.clock.now:
                connection.finish(403)

    def _step_clock(self) -> None:
        seconds = self.dice.choice((1, 2, 5, 20, 60, 3600, 40_000, 0))
        seconds *= self.dice.choice((1, -1))
        self.clock.step(seconds * TICKS_PER_SECOND + self.dice.randrange(1000) * TICKS_PER_MS)

    def _meddle(self) -> None:
        self.dice.choice(self.writers).meddle()

    def _turn_away(self) -> None:
        self.deaf = self.dice.random() < self.plan.conditions.deaf

    # --- kind times -----------------------------------------------------------------------------
    def _end_storm(self) -> None:
        self.trace("kind")
        self.stormy = self.deaf = False
        self.service.conditions = Conditions()
        self.service.accept_credentials()
        self.clock.step(0)
        for upload in self.uploads.values():
            upload.turn_kind()
        self.settle()
        for writer in self.writers:
            writer.source_clock.set_right()
            writer.silences.end()
            writer.resume()
            if writer.stream.failure is not None:
                self._revive(writer)
            elif writer.stream.stopped and self.dice.random() < 0.5:
                self._await("to close", lambda stream=writer.stream: stream.closed)  # type: ignore[misc]
                writer.reopen()
            writer.film(self.dice.randrange(1, 40 if self.plan.storm < LONG_STORM else 10))

    def _revive(self, writer: Writer) -> None:
        """A stream that failed for good is thrown away, or reset when its client still works."""
        if self.plan.calm:
            raise Broken(f"a calm world's stream has failed: {writer.stream.failure}")
        if self.client.failure is None and self.dice.random() < 0.5:
            writer.stream.reset(self.clock.now)
        else:
            writer.reopen()

    def _await(self, what: str, done: Callable[[], bool]) -> None:
        # What is left to film of hours takes its time.
        patience = _PATIENCE if self.plan.storm < LONG_STORM else self.plan.storm
        if not self._let_happen(patience, done):
            raise Broken(f"stuck, waiting {what}: {self._states()}")

    def _states(self) -> str:
        return "; ".join(
            f"{writer.info.name} {writer.stream.state.name} {writer.stream.account()}"
            f" {writer.stream.metrics(self.clock.now).current_view_size} bytes to send,"
            f" pending {writer.pending}, failure {writer.stream.failure}"
            for writer in self.writers
        )

    def _come_to_rest(self) -> None:
        """Everything put is sent; after a flush everything is stored; then the streams close."""
        live = [w for w in self.writers if w.stream.failure is None and not w.stream.freed]
        self._await("for the writers", lambda: all(w.finished for w in live))
        self._await("for everything to be sent", lambda: all(map(self._all_sent, live)))
        for writer in live:
            if self.dice.random() < 0.5 and not writer.stream.stopped and writer.flush():
                self._await(f"for a flush of {writer.info.name}", lambda w=writer: w.settled)  # type: ignore[misc]
        if not self.plan.calm and self.dice.random() < 0.5:
            self._idle()
        for writer in self.writers:
            writer.stop()
        self._await("to close", lambda: all(w.stream.closed for w in self.writers))

    def _idle(self) -> None:
        """Nothing is put for minutes, behind a NAT that cuts each connection that is silent.

        A stream that holds nothing has no need of another connection each time. (Without acks it
        cannot know: there a fragment that was not ended is sent again.)
        """
        silence = self.dice.choice((2, 20, 60)) * TICKS_PER_SECOND
        stored = [w for w in self.writers if w.info.fragment_acks and not w.stream.account().held]
        streams = [writer.info.name for writer in stored]
        before = self.upload_count
        for _ in range(_IDLE_CUTS):
            self._let_happen(silence)
            for upload in list(self.uploads.values()):
                if upload.link is not None and upload.name in streams:
                    self.service.chance(1.0, "idle cut")
                    upload.link.cut()
        self._let_happen(silence)
        opened = self.upload_count - before
        if len(streams) == len(self.writers) and opened > 3 * len(streams):
            raise Broken(f"idle streams opened {opened} uploads")

    def _all_sent(self, writer: Writer) -> bool:
        stream = writer.stream
        # What was refused and never sent stays in the view for a while, but is no longer held.
        unsent = stream.metrics(self.clock.now).current_view_size and stream.account().held
        queued = writer.info.frame_order_mode  # a frame may wait for the other track
        return stream.failure is not None or not unsent or bool(queued)

    def _close(self) -> None:
        self._let_happen(60 * TICKS_PER_SECOND)  # what is still on its way
        for writer in self.writers:
            account = writer.stream.account()
            if writer.stream.failure is None:
                writer.books.check_end(account)
            if writer.stream.info.streaming_type is core.StreamingType.OFFLINE:
                writer.books.check_offline()
            failed = writer.stream.failure is not None  # such as by a 401 for its token
            if self.plan.roomy and not (writer.books.emptied or failed):
                writer.books.check_all_stored()
            if self.plan.calm and len(writer.info.tracks) == 1:
                if account.dropped:
                    raise Broken(f"a calm world drops frames: {account} {writer.books.reasons}")
                writer.books.check_metadata()
            writer.free()
        # Metadata that was put behind the last fragment is reported: there is none to go with.
        left = StatusCode.MAX_FRAGMENT_METADATA_COUNT
        errors = [error for error in self.errors if getattr(error, "status", None) is not left]
        if self.plan.calm and errors and not any(w.info.tracks[1:] for w in self.writers):
            raise Broken(f"a calm world tells errors: {errors}")
        self.client.close(self.clock.now)
        self.settle()
        if self.client.store.used_bytes:
            raise Broken(f"{self.client.store.used_bytes} bytes are still used after the end")

    def outcome(self, seed: int, broken: str) -> Outcome:
        """The figures of this world."""
        result = Outcome(seed, broken, uploads=self.upload_count)
        result.faults.update(self.service.faults)
        for books in self.books:
            result.frames += len(books.put)
            result.stored += books.stored
            result.dropped.update(books.reasons)
            result.dropped_but_stored += books.dropped_but_stored
        return result


def run(seed: int, print_line: Callable[[str], None] | None = None) -> Outcome:
    """Run one world; `broken` in its outcome says which invariant does not hold, or is ""."""
    world: World | None = None
    try:
        world = World(seed, print_line=print_line)
        world.run()
    except Broken as error:
        broken = str(error)
    except Exception:  # noqa: BLE001  whatever leaves the core is a broken invariant
        broken = f"an exception left the core:\n{traceback.format_exc()}"
    else:
        return world.outcome(seed, "")
    return world.outcome(seed, broken) if world is not None else Outcome(seed, broken)


# --- the command --------------------------------------------------------------------------------
def _seeds(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last or int(first) + 1))


def _run_all(seeds: Sequence[int], jobs: int) -> Iterable[Outcome]:
    if jobs == 1:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run, seeds, chunksize=16)


def _report(total: Outcome, worlds: int, broken: int, elapsed_s: float) -> None:
    faults = ", ".join(f"{count} {name}" for name, count in sorted(total.faults.items()))
    drops = ", ".join(f"{count} {reason}" for reason, count in sorted(total.dropped.items()))
    print(
        f"{worlds} worlds, {broken} broken, {worlds / elapsed_s:.1f} a second\n"
        f"{total.frames} frames put, {total.stored} stored, dropped: {drops or 'none'}"
        f" ({total.dropped_but_stored} of them stored all the same)\n"
        f"{total.uploads} uploads; faults: {faults or 'none'}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 1 when an invariant is broken, and names the seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.world")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seeds", type=_seeds, help="FIRST:END, for example 5000:6000")
    which.add_argument("--seed", type=int, help="a single world")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    parser.add_argument("--jobs", type=int, default=1, help="processes to use")
    parser.add_argument("--keep-going", action="store_true", help="do not end at the first")
    options = parser.parse_args(arguments)
    seeds = range(options.seed, options.seed + 1) if options.seeds is None else options.seeds
    outcomes = (
        (run(seed, print) for seed in seeds) if options.trace else _run_all(seeds, options.jobs)
    )
    total, worlds, broken, began = Outcome(-1), 0, 0, perf_counter()
    for outcome in outcomes:
        worlds += 1
        total.frames += outcome.frames
        total.stored += outcome.stored
        total.uploads += outcome.uploads
        total.dropped += outcome.dropped
        total.dropped_but_stored += outcome.dropped_but_stored
        total.faults += outcome.faults
        if worlds % _MILESTONE == 0:
            print(f"{worlds} of {len(seeds)} worlds, {broken} broken", file=sys.stderr, flush=True)
        if outcome.broken:
            broken += 1
            print(f"seed {outcome.seed}: {outcome.broken}", flush=True)
            if not options.keep_going:
                break
    _report(total, worlds, broken, perf_counter() - began)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
