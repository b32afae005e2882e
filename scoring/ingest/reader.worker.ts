import { OperatingError } from '../../core/operating-error.ts';
import { LogReader } from './log-reader.ts';
import type { ReaderTask } from './reader-tasks.ts';

/** One thread, one reader: what it knows lives here from `open` on and ends with the thread. */
let reader = new LogReader();

/** What piscina calls. An error loses its class on the way: a fault of the world is told as a value. */
export default function handle(task: ReaderTask): unknown {
  try {
    return { answer: answer(task) };
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    const { code, retry, message, mend } = error;
    return { fault: { code, retry, message, mend } };
  }
}

function answer(task: ReaderTask): unknown {
  switch (task.kind) {
    case 'open':
      reader = new LogReader(task.partitions);
      return undefined;
    case 'remember':
      return reader.remember(task);
    case 'forget':
      return reader.forget(task);
    case 'load':
      return reader.load(task);
    case 'strays':
      return reader.strays(task);
    case 'apply':
      return reader.apply(task);
    case 'done':
      return reader.done(task);
    case 'give-up':
      return reader.giveUp(task);
    case 'clear':
      return reader.clear(task);
    case 'drop':
      return reader.drop(task);
  }
}
