import { type NoticeSimulator, type NoticeSimulatorOptions, startNoticeSimulator } from '../notice-simulator.ts';
import { Notice } from './wire.ts';

export type AgentManagerSimulator = NoticeSimulator<Notice>;

/** An Agent Manager that keeps what it is told, on the real wire. */
export function startAgentManagerSimulator(options: NoticeSimulatorOptions = {}): Promise<AgentManagerSimulator> {
  return startNoticeSimulator<Notice>({ name: 'notice', path: /^\/v1\/notices$/, schema: Notice }, options);
}
