import { type NoticeSimulator, type NoticeSimulatorOptions, startNoticeSimulator } from '../notice-simulator.ts';
import { Explanation } from './wire.ts';

export type ReasoningGraphSimulator = NoticeSimulator<Explanation>;

/** A Reasoning Graph that keeps what is explained to it, on the real wire. */
export function startReasoningGraphSimulator(options: NoticeSimulatorOptions = {}): Promise<ReasoningGraphSimulator> {
  return startNoticeSimulator<Explanation>(
    { name: 'explain', path: /^\/v1\/explanations$/, schema: Explanation },
    options,
  );
}
