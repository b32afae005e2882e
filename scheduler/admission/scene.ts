import type { FlavourInput } from '../../pools/planner-input.ts';
import type { QuotaTree } from '../../pools/quota-tree.ts';
import type { Guards } from '../preemption/guards.ts';
import type { Precedence } from '../preemption/precedence.ts';
import type { Strategy } from '../preemption/search-fair.ts';
import type { Accounts } from './accounts.ts';
import type { Backfill } from './backfill.ts';
import type { Slot } from './eta-profile.ts';
import type { Keeps } from './keeps.ts';
import type { ShutRoom } from './shut-room.ts';
import type { TypicalAsk } from './typical-asks.ts';
import type { Work, World } from './world.ts';

/** What a cycle looks at: the state as it is, and as it will be once all that is leaving has left and who it is kept for has come. */
export interface Scene {
  readonly tree: QuotaTree;
  readonly nowMs: number;
  /** As it is. */
  readonly present: World;
  /** As it will be: without draining work, with pending preemptors and what waiting heads keep. */
  readonly coming: World;
  readonly flavours: ReadonlyMap<string, FlavourInput>;
  readonly accounts: Accounts;
  readonly guards: Guards;
  readonly precedence: Precedence;
  readonly typical: readonly TypicalAsk[];
  /** Running work of a division that is not draining. */
  readonly works: (division: number) => Iterable<Work>;
  /** null: fair sharing is off. */
  readonly strategies: readonly Strategy[] | null;
  readonly keeps: Keeps;
  readonly backfill: Backfill;
  readonly underWay: UnderWay;
}

/** Advance bookings whose time has come: charged in what is coming, on no machine in particular. */
export interface UnderWay {
  readonly slots: readonly Slot[];
  /** Kept out of what is coming with them, so that they are not reckoned to be where nobody may start; null: there are none. */
  readonly shut: ShutRoom | null;
}
