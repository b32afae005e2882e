import { move, transferableSymbol, valueSymbol } from 'piscina';
import { assert } from '../../core/assert.ts';
import { parseSuite } from '../../core/suite.ts';
import type { Drained, ShardTask, Taken } from './messages.ts';
import { buffersOf } from './pane-deltas.ts';
import { ShardEffects } from './shard-effects.ts';

/** One thread, one shard: its state lives here from `open` on and ends with the thread. */
let shard: ShardEffects | undefined;

/** What piscina calls. A drain's arrays are moved to the caller. */
export default function handle(task: ShardTask): unknown {
  if (task.kind === 'open') {
    shard = new ShardEffects({ ...task, suite: parseSuite(task.suite) });
    return undefined;
  }
  assert(shard !== undefined, 'a shard is opened before it takes messages');
  if (task.kind === 'take') {
    shard.take(task.batch, task.replay);
    return { panes: shard.panes } satisfies Taken;
  }
  return moved(shard.drain());
}

function moved(drained: Drained): unknown {
  return move({
    get [transferableSymbol]() {
      return buffersOf(drained.panes);
    },
    get [valueSymbol]() {
      return drained;
    },
  } as never);
}
