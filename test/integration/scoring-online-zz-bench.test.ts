import { afterAll, beforeAll, test } from 'vitest';
import { type TestDatabase, testDatabase } from '../support/db.ts';
import { type Harness, harness, lineOf, newTenant, parseSuite, random, register, EPOCH_MS } from './scoring-online-support.ts';
let base: TestDatabase; let h: Harness;
beforeAll(async () => { base = await testDatabase(); h = await harness(base); });
afterAll(async () => { await h.log.close(); await base.close(); });
test('bench', async () => {
  const suite = parseSuite({ apiVersion: 'merit/v1', kind: 'Suite', name: 'b', tick: '15m', metrics: { a: { direction: 'higher', floor: 0, ceil: 1, required: true }, l: { direction: 'lower', kind: 'quantile', quantile: 0.95, scale: 3, floor: 1000, ceil: 100 } }, promotion: {} });
  const by = await newTenant(base, 'bench');
  const versions = Array.from({ length: 20 }, (_, i) => `v${i}`);
  await register(base.db, by, suite, versions);
  const next = random(1); const N = 50000;
  let text = '';
  for (let i = 0; i < N; i++) text += lineOf({ schemaVersion: 1, reportId: `r${i}`, producer: 'p', model: versions[i % 20], suite: 'b', observedAt: new Date(EPOCH_MS + Math.floor(i / N * 86400000)).toISOString(), metrics: { a: next(), l: next() * 1000 } });
  await h.send('bench', text);
  const times = new Map<string, [number, number]>();
  const real = base.db;
  const wrap = (tx: any) => ({
    query: async (sql: string, v: any) => { const t = performance.now(); const r = await tx.query(sql, v); const k = sql.trim().slice(0, 60).replace(/\s+/g, ' '); const e = times.get(k) ?? [0, 0]; e[0]++; e[1] += performance.now() - t; times.set(k, e); return r; },
    execute: async (sql: string, v: any) => { const t = performance.now(); const r = await tx.execute(sql, v); const k = sql.trim().slice(0, 60).replace(/\s+/g, ' '); const e = times.get(k) ?? [0, 0]; e[0]++; e[1] += performance.now() - t; times.set(k, e); return r; },
  });
  const db: any = { ...real, asLeader: (e: bigint, w: any) => real.asLeader(e, (tx) => w(wrap(tx))), asEngine: (w: any) => real.asEngine((tx) => w(wrap(tx))) };
  const t = performance.now();
  await h.drain(h.context({ db }));
  const ms = performance.now() - t;
  console.log('drain ms', ms, 'reports/s', N / ms * 1000);
  console.log([...times].sort((a, b) => b[1][1] - a[1][1]).slice(0, 16).map(([k, [n, x]]) => `${x.toFixed(0)}ms ${n} ${k}`).join('\n'));
}, 300000);
