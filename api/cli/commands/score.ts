import type { Refusal } from '../../../core/refusal.ts';
import { stringifyYaml } from '../../../platform/yaml.ts';
import { jsonPieces, tablePieces } from '../../../scoring/offline/render.ts';
import { type OfflineScores, scoreStream } from '../../../scoring/offline/score-stream.ts';
import { EXIT } from '../exit.ts';
import {
  type OfflineIo,
  type OfflineOptions,
  type OfflineRun,
  Refused,
  readInstant,
  runOffline,
} from '../offline-command.ts';
import { checkReports, readSuite } from '../report-files.ts';

export interface ScoreOptions extends OfflineOptions {
  /** Path of the suite, YAML or JSON. */
  readonly suite: string;
  /** RFC 3339. */
  readonly at: string;
}

/**
 * `merit score`: scores reports offline and prints the published object. Exits 0 if any report was accepted, 11 if none was,
 * else as runOffline does.
 */
export function run(options: ScoreOptions, io: OfflineIo): Promise<number> {
  return runOffline('score', options, io, (offline) => score(options, offline));
}

async function score(options: ScoreOptions, offline: OfflineRun): Promise<number> {
  const refusals: Refusal[] = [];
  const atMs = readInstant('--at', options.at, refusals);
  const suite = await readSuite('--suite', options.suite, refusals);
  await checkReports(options.reports, refusals);
  if (suite === undefined || atMs === undefined || refusals.length > 0) throw new Refused(EXIT.badValue, refusals);
  const { sources, signal, onChunk } = offline;
  const scores = await scoreStream({ suite, atMs, sources, signal, onChunk });
  await offline.write(pieces(scores, options.output));
  return scores.accepted > 0 ? EXIT.ok : EXIT.incomplete;
}

function* pieces(scores: OfflineScores, output: string): Generator<string> {
  if (output === 'json') yield* jsonPieces(scores);
  else if (output === 'yaml') yield stringifyYaml(scores);
  else if (output === 'name') yield* scores.models.map((model) => `${model.model}\n`);
  else yield* tablePieces(scores, output === 'wide');
}
