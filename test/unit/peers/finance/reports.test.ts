import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { financeReports } from '../../../../peers/finance/reports.ts';
import { type FinanceSimulator, startFinanceSimulator } from '../../../../peers/finance/simulator.ts';
import { openHttpClient } from '../../../../platform/http-client.ts';

let folder: string;
let simulator: FinanceSimulator;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'merit-reports-'));
  simulator = await startFinanceSimulator({ journalPath: join(folder, 'finance.ndjson') });
});
afterEach(async () => {
  await simulator.close();
  rmSync(folder, { recursive: true, force: true });
});

test.each([0, 1])(
  'a month of the longest tenant arrives whole in its parts, whatever characters stand where they are cut: %i',
  async (ahead) => {
    const client = openHttpClient({ origin: simulator.url });
    const tenant = 't'.repeat(63);
    const text = `${'a'.repeat(32 * 1024 - 2 + ahead)}🚀${'b'.repeat(40_000)}\n`;
    const lines = (async function* () {
      yield* [text, text];
    })();
    try {
      const of = { tenant, month: '2026-10', totals: [] };
      const reports = financeReports({ http: client.send });
      expect(await reports.push(of, lines, AbortSignal.timeout(60_000))).toEqual({ kind: 'taken' });
      expect(simulator.report(`${tenant}-2026-10`)).toMatchObject({ report: { parts: 5 }, text: text + text });
    } finally {
      await client.close();
    }
  },
);
