import { type Refusal, refuse } from '../../../core/refusal.ts';
import type { Suite } from '../../../core/suite.ts';
import { stringifyYaml } from '../../../platform/yaml.ts';
import { type Backtest, backtestStream } from '../../../scoring/backtest/backtest-stream.ts';
import { readerSuites } from '../../../scoring/backtest/reader-key.ts';
import { backtestJson, backtestTable } from '../../../scoring/backtest/render.ts';
import { parseShard, readReadings, writeShard } from '../backtest-readings.ts';
import { EXIT } from '../exit.ts';
import {
  type OfflineIo,
  type OfflineOptions,
  type OfflineRun,
  Refused,
  readInstant,
  runOffline,
} from '../offline-command.ts';
import { checkReports, checkSuite, readSuite } from '../report-files.ts';

export interface BacktestOptions extends OfflineOptions {
  /** `3/16`: only reads that shard of the reports, into the file `into`. */
  readonly shard?: string | undefined;
  /** A path, or a `file:` URL. */
  readonly into?: string | undefined;
  /** Files of all shards, in place of `reports`. */
  readonly readings?: readonly string[] | undefined;
  /** Has the shards read somewhere; their files, and what the reports are called here. */
  readonly elsewhere?:
    | ((inputs: BacktestInputs) => Promise<{ readonly readings: readonly string[]; readonly names: readonly string[] }>)
    | undefined;
  /** Path of the suite, YAML or JSON. */
  readonly suite: string;
  /** Path of another suite to compare with. */
  readonly against?: string | undefined;
  /** Members of the promotion rule to compare with, on top of the suite's own: `promoteAbove=0.85`. */
  readonly promotion?: readonly string[] | undefined;
  readonly incumbent?: string | undefined;
  /** RFC 3339. */
  readonly from?: string | undefined;
  /** RFC 3339. */
  readonly to?: string | undefined;
}

/**
 * `merit backtest`: what a suite would have decided about an archive of reports, and where another one would have decided
 * otherwise. Exits 0 if any report was accepted, whatever differs, 11 if none was, else as runOffline does. With `shard` it reads a part of the
 * archive into a file, wherever that is best done, and with `readings` it judges the files of all parts.
 */
export async function run(options: BacktestOptions, io: OfflineIo): Promise<number> {
  const given = { ...options, reports: options.readings ?? options.reports };
  return runOffline('backtest', given, io, (offline) => backtest(options, offline));
}

async function backtest(options: BacktestOptions, offline: OfflineRun): Promise<number> {
  const { incumbent = null, into, shard } = options;
  const inputs = await readInputs(options);
  const { suite, against, fromMs, untilMs } = inputs;
  const suites = readerSuites([suite, ...(against === null ? [] : [against])]);
  if (shard !== undefined) {
    if (into === undefined)
      throw new Refused(EXIT.usage, [refuse('required', '--into', 'is missing', 'name the file to write')]);
    await writeShard(suites, options.reports, parseShard(shard), into, offline);
    return EXIT.ok;
  }
  const range = { suite, against, incumbent, fromMs, untilMs, signal: offline.signal };
  const read = options.readings === undefined ? await options.elsewhere?.(inputs) : undefined;
  const readings = options.readings ?? read?.readings;
  if (readings === undefined) {
    const { sources, onChunk } = offline;
    return tell(await backtestStream({ ...range, sources, onChunk }), options, offline);
  }
  const { header, sources } = await readReadings(readings, suites);
  const names = read?.names ?? header.sources.map(({ name }) => name);
  const onChunk: OfflineRun['onChunk'] = (notices, source, lines) => offline.onChunk(notices, source, lines, names);
  return tell(await backtestStream({ ...range, sources, areReadings: true, onChunk }), options, offline);
}

async function tell(result: Backtest, { output }: BacktestOptions, offline: OfflineRun): Promise<number> {
  await offline.write(pieces(result, output));
  return result.accepted > 0 ? EXIT.ok : EXIT.incomplete;
}

export interface BacktestInputs {
  readonly suite: Suite;
  /** null: there is nothing to compare with. */
  readonly against: Suite | null;
  readonly fromMs: number | null;
  readonly untilMs: number | null;
}

/** All that was given, checked. Throws Refused with everything that is wrong with it. */
async function readInputs(options: BacktestOptions): Promise<BacktestInputs> {
  const { promotion = [], readings } = options;
  if (options.against !== undefined && promotion.length > 0) {
    const problem = 'are two things to compare with';
    throw new Refused(EXIT.usage, [refuse('value', '--against and --promotion', problem, 'give one of them')]);
  }
  const refusals: Refusal[] = [];
  const fromMs = options.from === undefined ? null : readInstant('--from', options.from, refusals);
  const untilMs = options.to === undefined ? null : readInstant('--to', options.to, refusals);
  const suite = await readSuite('--suite', options.suite, refusals);
  const against = await readAgainst(options, suite, refusals);
  await checkReports(readings ?? options.reports, refusals);
  if (
    suite === undefined ||
    against === undefined ||
    fromMs === undefined ||
    untilMs === undefined ||
    refusals.length > 0
  )
    throw new Refused(EXIT.badValue, refusals);
  if (fromMs !== null && untilMs !== null && fromMs >= untilMs) {
    throw new Refused(EXIT.usage, [refuse('range', '--from', 'is not before --to', 'give the earlier instant first')]);
  }
  return { suite, against, fromMs, untilMs };
}

/** The suite to compare with; null: none was asked for; undefined: it was refused. */
async function readAgainst(
  options: BacktestOptions,
  suite: Suite | undefined,
  refusals: Refusal[],
): Promise<Suite | null | undefined> {
  const { against, promotion = [] } = options;
  if (against !== undefined) return readSuite('--against', against, refusals);
  if (promotion.length === 0) return null;
  const members = readMembers(promotion, refusals);
  if (suite === undefined || members === undefined) return undefined;
  const own = suite.document.promotion;
  const rule = { ...(typeof own === 'object' && own !== null ? own : {}), ...members };
  return checkSuite({ ...suite.document, promotion: rule }, refusals);
}

/** `name=value` pairs: numbers in plain decimal, anything else is a text. The suite's own check judges names and values. */
function readMembers(
  promotion: readonly string[],
  refusals: Refusal[],
): { readonly [name: string]: number | string } | undefined {
  const members: { [name: string]: number | string } = {};
  for (const pair of promotion) {
    const match = /^([A-Za-z]{1,32})=([^=]{1,32})$/.exec(pair);
    if (match === null) {
      const problem = `has ${JSON.stringify(pair.slice(0, 64))}, which is no name=value`;
      refusals.push(refuse('value', '--promotion', problem, 'write promoteAbove=0.85,cooldown=12h'));
      return undefined;
    }
    const [, name = '', value = ''] = match;
    members[name] = /^(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?$/.test(value) ? Number(value) : value;
  }
  return members;
}

function* pieces(result: Backtest, output: string): Generator<string> {
  if (output === 'json') yield* backtestJson(result);
  else if (output === 'yaml') yield stringifyYaml(result);
  else if (output === 'name') yield* result.decisions.map(({ tick, action, model }) => `${tick} ${action} ${model}\n`);
  else yield* backtestTable(result, output === 'wide');
}
