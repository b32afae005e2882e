import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const EXAMPLE = resolve(import.meta.dirname, '../../examples/digits');

export interface Report {
  readonly schemaVersion: number;
  readonly reportId: string;
  readonly producer: string;
  readonly model: string;
  readonly suite: string;
  readonly observedAt: string;
  readonly sampleSize: number;
  readonly metrics: { readonly accuracy: number; readonly latency_ms: number };
  readonly labels: { readonly slice: string; readonly driftDegrees: string };
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command in the example's folder to its end, with nothing of Merit's in its environment but `env`. */
export function runCommand(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const [program = '', ...args] = command;
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('MERIT_'));
  return new Promise((done, failed) => {
    const child = spawn(program, args, {
      cwd: EXAMPLE,
      env: { ...Object.fromEntries(kept), PYTHONDONTWRITEBYTECODE: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', failed);
    child.on('close', (code) => done({ code, stdout, stderr }));
  });
}

/** A training run as a provider starts it: parameters as JSON in MERIT_PARAMETERS. Throws what it said if it failed. */
export async function runTrainer(command: readonly string[], parameters: object): Promise<void> {
  const { code, stderr } = await runCommand(command, { MERIT_PARAMETERS: JSON.stringify(parameters) });
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${stderr}`);
}

export function readReports(folder: string): Report[] {
  const lines = readFileSync(join(folder, 'reports.ndjson'), 'utf8').trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Report);
}

/** The fraction of all images in these reports that were right. */
export function shareRight(reports: readonly Report[]): number {
  const images = reports.reduce((sum, report) => sum + report.sampleSize, 0);
  return reports.reduce((sum, report) => sum + report.metrics.accuracy * report.sampleSize, 0) / images;
}

/** A report without the one number that differs from run to run. */
export function withoutLatency({ metrics, ...report }: Report): object {
  return { ...report, metrics: { accuracy: metrics.accuracy } };
}

/** Parameters that train in well under a second. */
export function smallParameters(folder: string): Record<string, unknown> {
  return {
    model: 'digits-small',
    outputs: `file://${folder}`,
    train: { images: 60, rotations: [0, 30] },
    evaluate: { fromSlice: 2, slices: 4, drift: { fromSlice: 4, degrees: 40 } },
  };
}

/** What a bad parameter must be told: the member to set (undefined: to remove) and a word of the line on stderr. */
export const BAD_PARAMETERS: readonly {
  readonly rule: string;
  readonly set: Readonly<Record<string, unknown>>;
  readonly said: string;
}[] = [
  { rule: 'a missing model', set: { model: undefined }, said: 'model: missing' },
  { rule: 'a model name with a slash', set: { model: 'a/b' }, said: 'model: must be 1 to 64 characters' },
  {
    rule: 'a model name that leaves no room for the slice',
    set: { model: 'm'.repeat(62) },
    said: 'model: leaves no room',
  },
  { rule: 'an unknown parameter', set: { epochs: 3 }, said: 'epochs: unknown parameter' },
  { rule: 'an unknown parameter with a line break, on one line', set: { 'a\nb': 3 }, said: 'a\\nb: unknown parameter' },
  {
    rule: 'more images than the train pool has',
    set: { train: { images: 1201 } },
    said: 'train.images: must be an integer',
  },
  { rule: 'images as text', set: { train: { images: '60' } }, said: 'train.images: must be an integer' },
  { rule: 'images as true', set: { train: { images: true } }, said: 'train.images: must be an integer' },
  {
    rule: 'no rotation at all',
    set: { train: { images: 60, rotations: [] } },
    said: 'train.rotations: must be a list',
  },
  {
    rule: 'the same rotation twice',
    set: { train: { images: 60, rotations: [5, 5] } },
    said: 'train.rotations[1]: stands twice',
  },
  {
    rule: 'a rotation past half a turn',
    set: { train: { images: 60, rotations: [181] } },
    said: 'train.rotations[0]: must be',
  },
  { rule: 'no slices', set: { evaluate: { slices: 0 } }, said: 'evaluate.slices: must be an integer' },
  {
    rule: 'a drift without its angle',
    set: { evaluate: { slices: 1, drift: { fromSlice: 0 } } },
    said: 'evaluate.drift.degrees: missing',
  },
  { rule: 'an epoch without a zone', set: { epoch: '2026-01-05T09:00:00' }, said: 'epoch: must be an RFC 3339 time' },
  {
    rule: 'an epoch that no calendar has',
    set: { epoch: '2026-02-30T09:00:00Z' },
    said: 'epoch: is not a time of the calendar',
  },
  {
    rule: 'an epoch in second 60',
    set: { epoch: '2026-01-05T09:00:60Z' },
    said: 'epoch: is not a time of the calendar',
  },
  { rule: 'a tick of no seconds', set: { tickSeconds: 0 }, said: 'tickSeconds: must be an integer' },
  { rule: 'a negative seed', set: { seed: -1 }, said: 'seed: must be an integer' },
  {
    rule: 'a demotion ages after the epoch',
    set: { demotedAtTick: '2999-01-01T00:00:00Z' },
    said: 'demotedAtTick: is more than',
  },
  { rule: 'missing outputs', set: { outputs: undefined }, said: 'outputs: missing' },
  { rule: 'a relative folder', set: { outputs: 'file:out' }, said: 'outputs: must name an absolute folder' },
  {
    rule: 'a folder of another machine',
    set: { outputs: 'file://host/out' },
    said: 'outputs: must name an absolute folder',
  },
  {
    rule: 'a folder with a .. step, however written',
    set: { outputs: 'file:///tmp/%2e%2e/x' },
    said: 'outputs: must have no .. step',
  },
  { rule: 'an address of another kind', set: { outputs: 'https://host/out' }, said: 'outputs: must' },
];
