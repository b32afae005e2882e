import type { Work } from '../../../bench/scheduler/work.ts';

let made = 0;

export function aWork(parts: Partial<Work> = {}): Work {
  const runtimeMs = parts.runtimeMs ?? 10;
  return {
    id: `w${made++}`,
    queue: 'a',
    root: 'r',
    className: 'c',
    priority: 0,
    askMilli: 1000,
    leaseMs: runtimeMs,
    createdAtMs: 0,
    flavours: ['f'],
    ...parts,
    runtimeMs,
  };
}
