import { expect, test } from 'vitest';
import type { Booking } from '../../../../scheduler/apply/booking-store.ts';
import { GroupCommit, TrailNotSealed } from '../../../../scheduler/apply/group-commit.ts';
import { type Move, type MoveResult, TrailAged } from '../../../../scheduler/apply/moves.ts';

function moveOf(bookingId: string, needsSealedTrail = false): Move {
  const booking = { bookingId, tenant: 'acme', state: { state: 'waiting', attempt: 1 }, version: 1n };
  const event = { type: 'released', notBeforeMs: 0 } as const;
  return { booking: booking as unknown as Booking, event, actor: 'test', nowMs: 0, needsSealedTrail };
}

function movedAll(moves: readonly Move[]): readonly MoveResult[] {
  return moves.map(({ booking }) => ({ kind: 'moved', booking }));
}

test('a trail that grew too old under a group undoes those that rest on it, and the others are committed', async () => {
  const groups: string[][] = [];
  const group = new GroupCommit({
    commit: async (moves) => {
      groups.push(moves.map(({ booking }) => booking.bookingId));
      if (moves.some(({ needsSealedTrail }) => needsSealedTrail)) throw new TrailAged('of these');
      return movedAll(moves);
    },
  });
  const moves = [moveOf('a'), moveOf('b', true), moveOf('c')];
  const [a, b, c] = await Promise.allSettled(moves.map((move) => group.commit(move)));
  expect([a, c]).toMatchObject([{ value: { bookingId: 'a' } }, { value: { bookingId: 'c' } }]);
  expect(b).toMatchObject({ reason: expect.any(TrailNotSealed) });
  expect(groups).toEqual([
    ['a', 'b', 'c'],
    ['a', 'c'],
  ]);
});

test('one at fault fails alone: the others of its group are committed one by one', async () => {
  const group = new GroupCommit({
    commit: async (moves) => {
      if (moves.some(({ booking }) => booking.bookingId === 'b')) throw new Error('of b');
      return movedAll(moves);
    },
  });
  const all = await Promise.allSettled(['a', 'b', 'c'].map((id) => group.commit(moveOf(id))));
  expect(all).toMatchObject([{ status: 'fulfilled' }, { reason: { message: 'of b' } }, { status: 'fulfilled' }]);
});
