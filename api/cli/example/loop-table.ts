import { readFile } from 'node:fs/promises';
import type { LoopResult } from './digits-loop.ts';

/** What happened, as a short table. Every figure is the server's; the receipt is checked by whoever reads it, offline. */
export async function loopTable(result: LoopResult): Promise<string> {
  const { round, promoted, demoted, job, artifacts, cost, successor } = result;
  const weights = artifacts.files.find((file) => file.path.startsWith('weights')) ?? artifacts.files[0];
  const rows: (readonly [string, string, string])[] = [
    ['promotion', round.incumbent, decided(promoted)],
    ['demotion', round.incumbent, decided(demoted)],
    [
      'booking',
      job.id,
      `${job.state}, pool ${job.pool}/${job.flavour}, attempt ${job.attempt}, cost ${cost.spent} ${cost.currency}`,
    ],
    [job.provider === 'ray' ? 'Ray job' : 'job', job.handle ?? '', `ran on ${job.provider}`],
    ['artifact', weights?.path ?? '', weights === undefined ? 'none' : `sha256 ${weights.sha256}`],
    ['manifest', `${artifacts.files.length} files`, `sha256 ${artifacts.manifestSha256}`],
    ['promotion', successor.model, decided(successor)],
    ['receipt', `${(await readFile(result.receiptFile)).length} bytes`, result.receiptFile],
  ];
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  return `\n${rows.map(([what, which, how]) => `${what.padEnd(widths[0] ?? 0)}  ${which.padEnd(widths[1] ?? 0)}  ${how}`).join('\n')}\n`;
}

function decided(decision: LoopResult['promoted']): string {
  return `at ${decision.tick}, composite ${decision.composite.toFixed(3)}`;
}

export function nextCommands(url: string, result: LoopResult): string {
  const { round, job, receiptFile } = result;
  return `
Merit is up at ${url}. Try, from another terminal in this folder:
  npx merit leaderboard ${round.suiteName}
  npx merit why ${job.id}
  npx merit jobs verify ${job.id}
  npx merit audit export --roots roots.json && npx merit audit verify ${receiptFile} --roots roots.json
  npx merit submit --pool ${job.pool} --cpus 1 --lease 10m -- python3 -c 'print("hello")'
`;
}
