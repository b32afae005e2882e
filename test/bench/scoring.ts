import { fails, type Row, tableOf } from './harness.ts';

/** `npm run bench -- NAME…`: the rows that are named, all of them where none is. Exit 1 where one is below its floor by more than the slack. */
const ROWS: Readonly<Record<string, () => Promise<readonly Row[]>>> = {
  launcher: async () => (await import('./launcher-row.ts')).launcherRows(),
  columns: async () => (await import('./columns-row.ts')).columnsRows(),
  panes: async () => (await import('./panes-row.ts')).panesRows(),
  recompute: async () => (await import('./recompute-row.ts')).recomputeRows(),
  durable: async () => (await import('./durable-row.ts')).durableRows(),
  'ingest-kafka': async () => (await import('./ingest-kafka-row.ts')).ingestKafkaRows(),
  'slow-sockets': async () => (await import('./slow-sockets-row.ts')).slowSocketsRows(),
  latency: async () => (await import('./latency-row.ts')).latencyRows(),
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !Object.hasOwn(ROWS, name));
if (unknown.length > 0) {
  console.error(`bench: there are no rows named ${unknown.join(', ')}\n  mend: name ${Object.keys(ROWS).join(', ')}`);
  process.exitCode = 2;
} else {
  const rows: Row[] = [];
  for (const name of asked.length > 0 ? asked : Object.keys(ROWS)) {
    console.error(`measuring ${name} …`);
    rows.push(...(await ROWS[name]!()));
  }
  console.log(tableOf(rows));
  if (fails(rows)) process.exitCode = 1;
}
