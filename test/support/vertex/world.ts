import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AttemptSpec, Provider } from '../../../providers/provider.ts';
import { openProvider } from '../../../providers/registry.ts';
import vertex from '../../../providers/vertex/adapter.ts';
import type { VertexConfig } from '../../../providers/vertex/config.ts';
import { type Script, scriptedState } from '../cloud/container.ts';
import { scriptedSpecs } from '../cloud/scripted-specs.ts';
import { SteppedClock } from '../cloud/stepped-clock.ts';
import type { Container } from './custom-job.ts';
import { FLAVOURS, L4 } from './flavours.ts';
import { type SimulatorOptions, VertexSimulator } from './simulator.ts';

function scripted(scripts: ReadonlyMap<string, Script>): Container {
  return (run, nowMs) => scriptedState(scripts.get(run.job.displayName) ?? {}, run, nowMs);
}

export interface VertexWorld {
  readonly clock: SteppedClock;
  readonly simulator: VertexSimulator;
  readonly provider: Provider;
  readonly signal: AbortSignal;
  /** Another instance on the same service. */
  open(config?: Partial<VertexConfig>): Promise<Provider>;
  spec(fields?: Partial<AttemptSpec>, script?: Script): AttemptSpec;
  close(): Promise<void>;
}

/** A simulator, and a provider on it whose clock is the test's. */
export async function vertexWorld(
  options: Partial<Pick<SimulatorOptions, 'delays' | 'quotas' | 'pageSize'>> = {},
  config: Partial<VertexConfig> = {},
): Promise<VertexWorld> {
  const clock = new SteppedClock();
  const stateDir = await mkdtemp(join(tmpdir(), 'merit-vertex-'));
  const scripts = new Map<string, Script>();
  const simulator = await new VertexSimulator({ ...options, clock, stateDir, container: scripted(scripts) }).start();
  const opened: Provider[] = [];
  const open = async (fields: Partial<VertexConfig> = {}) => {
    const whole = simulator.config({ flavours: FLAVOURS, ...config, ...fields });
    const provider = await openProvider(vertex as never, whole, { stateDir, clock, flavours: [L4] });
    opened.push(provider);
    return provider;
  };
  return {
    clock,
    simulator,
    provider: await open(),
    signal: new AbortController().signal,
    open,
    spec: scriptedSpecs('l4', scripts),
    close: async () => {
      await Promise.all(opened.map((one) => one.close()));
      await simulator.close();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}
