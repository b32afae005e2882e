import { GuardedLoad } from './cycles-guarded.ts';
import { CycleLoad } from './cycles-load.ts';

/** A planner in a process of its own, so that its heap is its own too. Told `{steps}`, it takes them and answers with its CPU seconds. */

const size = Number(process.argv[2]);
const load = process.argv[3] === 'guarded' ? new GuardedLoad(size) : new CycleLoad(size);

process.on('disconnect', () => process.exit(0));
process.on('message', ({ steps }: { readonly steps: number }) => {
  const [cycles, admitted] = [load.cycles, load.admitted];
  const before = process.cpuUsage();
  for (let i = 0; i < steps; i++) load.step();
  const { user, system } = process.cpuUsage(before);
  process.send!({
    cpuS: (user + system) / 1e6,
    cycles: load.cycles - cycles,
    admitted: load.admitted - admitted,
    pending: load.pending,
    rssMib: process.memoryUsage.rss() / 2 ** 20,
  });
});
process.send!('ready');
