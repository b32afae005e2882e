import handle from '../../scoring/ingest/reader.worker.ts';
import type { ReaderTask } from '../../scoring/ingest/reader-tasks.ts';

/** A reader that never comes back from a message which holds this text. */
export const HANGS = 'a message that hangs';

export default function handleOrHang(task: ReaderTask): unknown {
  if (task.kind === 'load' && Buffer.from(task.packed.bytes).includes(HANGS)) for (;;);
  return handle(task);
}
