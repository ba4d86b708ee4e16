"""What every source must hold."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from shortlist.core.batch import Array, Batch
from shortlist.core.contracts import Hits, Mask, Pairs
from shortlist.core.rng import rng
from shortlist.core.rows import offsets_of
from shortlist.data.catalogue import Catalogue
from shortlist.data.log import Log
from shortlist.state.state import State
from shortlist.testing.suite import PartSuite, frozen, frozen_batch, shuffled, snapshot, told
from shortlist.testing.toy import Small, alone, answers, two_tastes

K = 15


class SourceSuite(PartSuite):
    """For any source. One that answers from the request's history takes PersonalSourceSuite, which asks for more."""

    kind: ClassVar[str] = "retrieve"

    def test_answers_are_well_formed(self) -> None:
        """(n, k) distinct known items, best first, ties by item code, then -1 with NaN; `full` agrees."""
        part, state = self.ready()
        batch = self.world().requests()
        hits = part.retrieve(batch, state, K, None)
        well_formed(hits, batch.n, K, len(state.catalogue.items))
        assert (hits.items >= 0).any(), "found nothing for anybody: the other checks would say nothing"
        if isinstance(hits.rest, Pairs):
            size = hits.rest.size
            some = np.sort(rng(0, "pairs").permutation(batch.n * size)[: 5 * size])
            owner, item = some // size, (some % size).astype(np.int32)
            whole = hits.full
            assert whole is not None
            self.same(hits.rest.of(owner, item), whole[owner, item])

    def test_batch_equals_single(self) -> None:
        """A request is answered the same alone and among others."""
        part, state = self.ready()
        batch = self.world().requests()
        mask = some_mask(batch.n, len(state.catalogue.items))
        together = part.retrieve(batch, state, K, mask)
        for i in range(batch.n):
            self.same_hits(
                part.retrieve(batch.request(i), state, K, only(mask, np.array([i]))), pick(together, np.array([i]))
            )

    def test_order_of_requests_does_not_matter(self) -> None:
        """Requests in another order get the same answers in that order."""
        part, state = self.ready()
        batch = self.world().requests()
        order = shuffled(batch.n)
        self.same_hits(
            part.retrieve(batch.only(order), state, K, None), pick(part.retrieve(batch, state, K, None), order)
        )

    def test_requests_at_different_times(self) -> None:
        """The same, where every request has its own moment."""
        part, state = self.ready()
        asked = self.world().requests()
        batch = Batch({**asked.req, "time": asked.time + 3600 * np.arange(asked.n)}, asked.offsets, asked.cand)
        together = part.retrieve(batch, state, K, None)
        for i in range(batch.n):
            self.same_hits(part.retrieve(batch.request(i), state, K, None), pick(together, np.array([i])))

    def test_unknown_users(self) -> None:
        """Users without a code, or without an event, are no error."""
        part, state, batch = self.strangers()
        well_formed(part.retrieve(batch, state, K, None), batch.n, K, len(state.catalogue.items))

    def test_new_items_and_users(self) -> None:
        """The catalogue may grow after the fit: an item that was not there is no error in a history, and the answer stays
        within the catalogue."""
        world = self.world()
        early = world.log.slice(0, len(world.log) // 3)
        part = self.part()
        folds = told(part, world.ctx)
        part.fit(early, alone(world, early, int(early.time[-1]) + 1).ctx)
        state = world.state(folds)
        batch = world.requests()
        well_formed(part.retrieve(batch, state, K, None), batch.n, K, len(state.catalogue.items))

    def test_empty_log(self) -> None:
        """Fitted on nothing, with nothing folded in, it still answers."""
        world = alone(self.world(), self.world().log.slice(0, 0), self.world().ctx.now)
        part = self.part()
        folds = told(part, world.ctx)
        part.fit(world.log, world.ctx)
        hits = part.retrieve(self.world().requests(), world.state(folds), K, None)
        well_formed(hits, self.world().requests().n, K, len(world.catalogue.items))

    def test_no_requests(self) -> None:
        """No requests, no answers."""
        part, state = self.ready()
        hits = part.retrieve(self.world().requests().only(np.zeros(0, dtype=np.int64)), state, K, None)
        assert hits.items.shape == hits.scores.shape == (0, K)

    def test_k_larger_than_the_catalogue(self) -> None:
        """A short list is padded; its beginning is what a smaller k gives."""
        part, state = self.ready()
        batch, size = self.world().requests(), len(state.catalogue.items)
        long = part.retrieve(batch, state, size + 7, None)
        well_formed(long, batch.n, size + 7, size)
        short = part.retrieve(batch, state, 3, None)
        self.same(short.items, long.items[:, :3])
        self.same(short.scores, long.scores[:, :3])

    def test_a_mask_only_strikes_out(self) -> None:
        """Under a mask, the answer is the longest answer without the banned items: nothing banned, nothing lost."""
        part, state = self.ready()
        batch, size = self.world().requests(), len(state.catalogue.items)
        everything = part.retrieve(batch, state, size, None)
        for mask in (some_mask(batch.n, size), Mask(some_mask(1, size).shared), Mask(None, *bans(batch.n, size))):
            hits = part.retrieve(batch, state, K, mask)
            for i in range(batch.n):
                wanted = everything.items[i][everything.items[i] >= 0]
                wanted = wanted[allowed(mask, i, size)[wanted]][:K]
                found = hits.items[i][hits.items[i] >= 0]
                if self.tolerance:
                    assert allowed(mask, i, size)[found].all()
                    assert len(found) == len(wanted)
                else:
                    assert found.tolist() == wanted.tolist()

    def test_everything_disallowed(self) -> None:
        """Nothing allowed, nothing found."""
        part, state = self.ready()
        batch, size = self.world().requests(), len(state.catalogue.items)
        everything = np.tile(np.arange(size, dtype=np.int32), batch.n)
        for mask in (Mask(np.zeros(size, dtype=bool)), Mask(None, np.arange(batch.n + 1) * size, everything)):
            assert (part.retrieve(batch, state, K, mask).items == -1).all()

    def test_fitting_again_gives_the_same(self) -> None:
        """Fit is a function of the log, the context and the seed."""
        one, state = self.ready()
        two, _ = self.ready()
        first, second = snapshot(one), snapshot(two)
        for name in first:
            self.same(second[name], first[name])
        batch = self.world().requests()
        self.same_hits(two.retrieve(batch, state, K, None), one.retrieve(batch, state, K, None))

    def test_a_later_fit_forgets_the_earlier(self) -> None:
        """Fitted for an early cut-off and then a later one, it is as if only the later had been."""
        world = self.world()
        early = world.log.slice(0, len(world.log) // 2)
        part = self.part()
        told(part, world.ctx)
        part.fit(early, alone(world, early, int(early.time[-1]) + 1).ctx)
        part.fit(world.log, world.ctx)
        expected, _ = self.ready()
        got, wanted = snapshot(part), snapshot(expected)
        for name in wanted:
            self.same(got[name], wanted[name])

    def test_what_comes_later_changes_nothing(self, tmp_path: Path) -> None:
        """Items and users that the catalogue got after the cut-off change neither what is learned nor what is found."""
        world = self.world()
        expected, state = self.ready()
        world.catalogue.save(tmp_path)
        grown = Catalogue.load(tmp_path)
        for i in range(9):
            grown.items.add(f"later item {i}")
            grown.users.add(f"later user {i}")
        later = Small(grown, world.log, world.later, replace(world.ctx, catalogue=grown))
        part = self.part()
        folds = told(part, later.ctx)
        part.fit(later.log, later.ctx)
        got, wanted = snapshot(part), snapshot(expected)
        for name in wanted:
            self.same(got[name], wanted[name])
        batch = world.requests()
        found, before = part.retrieve(batch, later.state(folds), K, None), expected.retrieve(batch, state, K, None)
        self.same(found.items, before.items)
        self.same(found.scores, before.scores)

    def test_inputs_are_not_changed(self) -> None:
        """Neither the log, nor the batch, nor the mask, nor what was learned."""
        world = self.world()
        part = self.part()
        folds = told(part, world.ctx)
        part.fit(Log(frozen(world.log.columns)), world.ctx)
        before = snapshot(part)
        state = world.state(folds)
        batch = frozen_batch(world.requests())
        part.retrieve(batch, state, K, some_mask(batch.n, len(state.catalogue.items)))
        for name, array in snapshot(part).items():
            self.same(array, before[name])

    def test_saved_and_loaded_it_answers_alike(self, tmp_path: Path) -> None:
        """The artefact is the part."""
        part, state = self.ready()
        batch = self.world().requests()
        expected = part.retrieve(batch, state, K, None)
        got = self.loaded(part, tmp_path).retrieve(batch, state, K, None)
        self.same(got.items, expected.items)
        self.same(got.scores, expected.scores)
        self.same(got.full, expected.full)

    def test_a_history_of_unknown_items_only(self) -> None:
        """Everything that a user met came after the fit."""
        world, part = self.world(), self.part()
        names = [f"unknown item {i}" for i in range(9)]
        grown = with_items(world, names)
        folds = told(part, grown.ctx)
        self.fit(part, grown)
        state = grown.state(folds)
        rows = np.arange(len(names)) % len(world.log)
        event = {name: column[rows].copy() for name, column in world.log.columns.items()}
        user = np.full(len(rows), world.log.user[0], dtype=np.int32)
        fresh = np.arange(len(world.catalogue.items), len(grown.catalogue.items), dtype=np.int32)
        kinds = np.full(len(rows), world.ctx.kinds(())[0], dtype=event["kind"].dtype)
        times = np.full(len(rows), world.ctx.now, dtype=np.int64)
        none = State(grown.catalogue, folds, history=4096)
        for moved in (state, none):  # after a life among known items, and as the first thing ever
            moved.apply({**event, "user": user, "item": fresh, "kind": kinds, "time": times})
            asked = world.requests(2)
            batch = Batch({**asked.req, "user": user[: asked.n]}, asked.offsets, asked.cand)
            obeys(part, batch, moved)

    def test_one_user(self) -> None:
        """A world in which one user did everything."""
        log = self.world().log
        self.lives(log.take(log.user == np.bincount(log.user).argmax()))

    def test_one_item(self) -> None:
        """A world in which everything was done to one item."""
        log = self.world().log
        self.lives(log.take(log.item == np.bincount(log.item).argmax()))

    def test_one_event(self) -> None:
        """A world in which one thing happened."""
        self.lives(self.world().log.slice(0, 1))

    def test_duplicate_events(self) -> None:
        """Every event three times, at the same moment."""
        log = self.world().log
        self.lives(log.take(np.repeat(np.arange(len(log)), 3)))

    def test_everybody_met_everything(self) -> None:
        """All items are alike: as far as there are scores, they are all equal, or nearly."""
        world = self.world()
        users, items = np.unique(world.log.user)[:12], np.arange(len(world.catalogue.items))
        met = np.flatnonzero(world.log.kind == world.ctx.kinds(())[0])
        rows = np.sort(np.resize(met, len(users) * len(items)))
        columns = world.log.take(rows).columns
        user, item = np.repeat(users, len(items)), np.tile(items, len(users))
        self.lives(Log({**columns, "user": user.astype(np.int32), "item": item.astype(np.int32)}))

    def lives(self, log: Log) -> None:
        """Fitted on such a log, the part answers, and never with what is not allowed."""
        world, part = alone(self.world(), log, self.world().ctx.now), self.part()
        folds = told(part, world.ctx)
        self.fit(part, world)
        obeys(part, self.world().requests(), world.state(folds))

    def strangers(self) -> tuple[Any, State, Batch]:
        """A fitted part, a state, and two requests: by nobody known, and by a user of whom the state has no event."""
        world, part = self.world(), self.part()
        user = int(world.log.user[0])
        without = alone(world, world.log.take(world.log.user != user), world.ctx.now)
        folds = told(part, without.ctx)
        part.fit(without.log, without.ctx)
        asked = world.requests(2)
        users = np.array([-1, user], dtype=np.int32)
        return part, without.state(folds), Batch({**asked.req, "user": users}, asked.offsets, asked.cand)

    def same_hits(self, got: Hits, expected: Hits) -> None:
        """Equal answers; `full` is compared when both have a row per request."""
        self.same(got.scores, expected.scores)
        if not self.tolerance:
            self.same(got.items, expected.items)
        if got.full is not None and expected.full is not None and len(got.items) and len(expected.items):
            rows = (len(got.items), got.full.shape[1])
            self.same(np.broadcast_to(got.full, rows), np.broadcast_to(expected.full, rows))


class PersonalSourceSuite(SourceSuite):
    """For a source that answers from the request's history."""

    def test_nothing_without_a_history(self) -> None:
        """No history is no evidence."""
        part, state, batch = self.strangers()
        hits = part.retrieve(batch, state, K, None)
        assert (hits.items == -1).all()
        if hits.full is not None:
            assert (np.nan_to_num(hits.full) == 0).all()

    def test_an_event_changes_the_next_answer(self) -> None:
        """A new user is served from his first event on, and not before."""
        world = self.world()
        part, state, strangers = self.strangers()
        batch = strangers.request(1)
        assert (part.retrieve(batch, state, K, None).items == -1).all()
        clicks = np.flatnonzero(world.log.kind == world.ctx.kinds(())[0])
        item = np.bincount(world.log.item[clicks]).argmax()
        event = {name: column[clicks[:1]].copy() for name, column in world.log.columns.items()}
        event |= {"user": batch.user, "item": np.array([item], np.int32), "time": batch.time}
        state.apply(event)
        assert (part.retrieve(batch, state, K, None).items >= 0).any()

    def test_finds_what_was_withheld(self) -> None:
        """Toy: two tastes, two item groups, one item withheld from each user: it comes first among what he has not met."""
        world = two_tastes()
        part = self.part()
        folds = told(part, world.ctx)
        part.fit(world.log, world.ctx)
        state = world.state(folds)
        users = np.arange(len(world.catalogue.users), dtype=np.int32)
        met = state.history(users)
        batch = Batch.of(users, np.array(world.ctx.now))
        hits = part.retrieve(batch, state, 1, Mask(None, met.offsets, met.items))
        assert hits.items[:, 0].tolist() == answers(world).tolist()


def obeys(part: Any, batch: Batch, state: State) -> None:
    """Well-formed answers under every kind of mask, nothing banned among them, for any k."""
    size = len(state.catalogue.items)
    nothing = Mask(np.zeros(size, dtype=bool))
    for mask in (None, Mask(some_mask(1, size).shared), some_mask(batch.n, size), nothing):
        for k in (1, K, size + 5):
            hits = part.retrieve(batch, state, k, mask)
            well_formed(hits, batch.n, k, size)
            for i in range(batch.n):
                found = hits.items[i][hits.items[i] >= 0]
                assert mask is None or allowed(mask, i, size)[found].all(), "returned what is not allowed"


def with_items(world: Small, names: list[str]) -> Small:
    """The world with a catalogue of its own in which there are more items, of which nothing is known."""
    with tempfile.TemporaryDirectory() as folder:
        world.catalogue.save(Path(folder))
        grown = Catalogue.load(Path(folder))
        for name in names:
            grown.items.add(name)  # makes room, and with that copies: nothing is left on the mapped files
    return Small(grown, world.log, world.later, replace(world.ctx, catalogue=grown))


def well_formed(hits: Hits, n: int, k: int, size: int) -> None:
    """Shapes, types, padding, order and ties of an answer."""
    assert hits.items.shape == hits.scores.shape == (n, k)
    assert hits.items.dtype == np.int32
    assert hits.scores.dtype == np.float32
    if hits.full is not None:
        assert hits.full.shape in ((n, size), (1, size))
        assert hits.full.dtype == np.float32
    for i in range(n):
        count = int((hits.items[i] >= 0).sum())
        items, scores = hits.items[i, :count], hits.scores[i, :count]
        assert (hits.items[i, count:] == -1).all(), "padding comes last"
        assert np.isnan(hits.scores[i, count:]).all()
        assert len(np.unique(items)) == count
        assert (items < size).all()
        assert np.isfinite(scores).all()
        assert np.lexsort((items, -scores)).tolist() == list(range(count)), "best first, ties by item code"
        if hits.full is not None:
            np.testing.assert_array_equal(hits.full[i if len(hits.full) == n else 0][items], scores)


def bans(n: int, size: int) -> tuple[Array, Array]:
    """Ragged banned items: some requests ban nothing, some half of everything."""
    draw = rng(0, "bans")
    counts = draw.integers(0, max(size // 2, 1), size=n)
    counts[::4] = 0
    return offsets_of(counts), np.concatenate([draw.permutation(size)[:count] for count in counts]).astype(np.int32)


def some_mask(n: int, size: int) -> Mask:
    """A shared bitmap with every third item missing, and bans per request."""
    return Mask(np.arange(size) % 3 != 1, *bans(n, size))


def allowed(mask: Mask, request: int, size: int) -> Array:
    """(size,) bool: what one request may be shown, in plain steps."""
    out = np.ones(size, dtype=bool) if mask.shared is None else mask.shared.copy()
    if mask.offsets is not None and mask.items is not None:
        out[mask.items[mask.offsets[request] : mask.offsets[request + 1]]] = False
    return out


def only(mask: Mask, requests: Array) -> Mask:
    """The mask of some of the requests."""
    if mask.offsets is None or mask.items is None:
        return mask
    pieces = [mask.items[mask.offsets[i] : mask.offsets[i + 1]] for i in requests]
    return Mask(mask.shared, offsets_of(np.array([len(piece) for piece in pieces])), np.concatenate(pieces))


def pick(hits: Hits, requests: Array) -> Hits:
    """The answers of some of the requests."""
    full = hits.full
    if full is not None and len(full) == len(hits.items):
        full = full[requests]
    return Hits(hits.items[requests], hits.scores[requests], full)
