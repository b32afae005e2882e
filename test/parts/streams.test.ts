import { createHash } from 'node:crypto';
import { mkdtemp, open, rm, truncate } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { collect } from '../../artifacts/collect.ts';
import { buildManifest } from '../../artifacts/manifest.ts';
import { artifactsPrefix } from '../../artifacts/paths.ts';
import { recordManifest, writeManifest } from '../../artifacts/store.ts';
import { systemClock } from '../../platform/clock.ts';
import { openS3ObjectStore } from '../../platform/object-store/s3.ts';
import type { ObjectStore } from '../../platform/object-store.ts';
import { postgresDesk } from '../../scheduler/apply/booking-desk.sql.ts';
import { LogKeeper } from '../../scheduler/apply/log-keeper.ts';
import { type CuttingProxy, cuttingProxy } from '../support/cutting-proxy.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { bookingWithAttempt } from '../support/log-jobs.ts';
import { MemoryProvider } from '../support/memory-provider.ts';
import { clientOf, newBucket, storeConfig, useCredentials } from '../support/versitygw-store.ts';
import { ownPart, partMissing } from './harness/use.ts';
import { versitygw } from './versitygw.ts';

/** `npm run test:streams`: 5 GB of artifacts and 1 GB of log through this process, with cuts; `npm run test:parts` sends a fiftieth of it (MERIT_STREAMS=N: an Nth). */
const SCALE = process.env.MERIT_STREAMS === 'whole' ? 1 : Number(process.env.MERIT_STREAMS ?? 50);
const ARTIFACT_BYTES = Math.floor(5e9 / SCALE);
const LOG_BYTES = Math.floor(1e9 / SCALE);
/** Beyond what this process held before it began. Uploads may hold 128 MiB, and buffers wait for their collection. */
const MAX_GROWTH_BYTES = 512 * 1024 ** 2;
const missing = partMissing(versitygw);
const MB = 1_000_000;

/** A log whose byte at any place is known without keeping it: numbered lines of 100 bytes. */
class LongLog extends MemoryProvider {
  readonly size = LOG_BYTES;
  override async logs(_key: string, fromByte: number, maxBytes: number): Promise<Uint8Array> {
    return logBytes(fromByte, Math.min(this.size, fromByte + maxBytes));
  }
}
function logBytes(from: number, to: number): Buffer {
  if (to <= from) return Buffer.alloc(0);
  const first = Math.floor(from / 100);
  const lines: string[] = [];
  for (let line = first; line * 100 < to; line++) lines.push(`step ${line} loss 0.125`.padEnd(99, '.'), '\n');
  return Buffer.from(lines.join('')).subarray(from - first * 100, to - first * 100);
}

describe.skipIf(missing !== undefined)(`streams${missing === undefined ? '' : ` (${missing})`}`, () => {
  let gateway: Awaited<ReturnType<typeof ownPart<{ url: string; accessKey: string; secretKey: string; dir: string }>>>;
  let proxy: CuttingProxy;
  let store: ObjectStore;
  let world: HttpWorld;
  let url: string;
  let folder: string;
  const provider = new LongLog();
  const seen = { partsResumed: 0, readsResumed: 0 };
  const tell = (figure: string) => process.stderr.write(`${figure}\n`);
  const before = { rss: 0, peak: 0 };
  const peak = () => process.resourceUsage().maxRSS * 1024;
  const measured = async (what: string, bytes: number, work: () => Promise<unknown>) => {
    const startedAt = performance.now();
    const cpu = process.cpuUsage();
    await work();
    const seconds = (performance.now() - startedAt) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    const rate = `${(bytes / MB / seconds).toFixed(0)} MB/s, ${((user + system) / 1e6).toFixed(1)} CPU-s`;
    tell(
      `${what}: ${(bytes / 1e9).toFixed(2)} GB in ${seconds.toFixed(1)} s (${rate}); peak RSS ${(peak() / MB).toFixed(0)} MB`,
    );
  };

  beforeAll(async () => {
    gateway = await ownPart(versitygw);
    useCredentials(gateway.facts);
    const bucket = await newBucket(clientOf(gateway.facts.url));
    proxy = await cuttingProxy(gateway.facts.url);
    const watch = {
      partsResumed: (parts: number) => {
        seen.partsResumed += parts;
      },
      readResumed: () => {
        seen.readsResumed++;
      },
    };
    store = await openS3ObjectStore(storeConfig(proxy.url, bucket), { watch });
    world = await httpWorld([], { store, running: provider });
    await world.app.listen({ host: '127.0.0.1', port: 0 });
    url = `http://127.0.0.1:${(world.app.server.address() as AddressInfo).port}`;
    folder = await mkdtemp(join(tmpdir(), 'merit-streams-'));
    before.rss = process.memoryUsage().rss;
    before.peak = peak();
    tell(`before: RSS ${(before.rss / MB).toFixed(0)} MB, peak ${(before.peak / MB).toFixed(0)} MB`);
  });
  afterAll(async () => {
    await world?.close();
    await proxy?.close();
    await gateway?.stop();
    await rm(folder, { recursive: true, force: true });
  });
  const get = (path: string, headers: Record<string, string> = {}) =>
    fetch(`${url}${path}`, { headers: { authorization: 'Bearer token-of-acme-0123456789', ...headers } });

  test('artifacts: a run that was ended in the middle is taken up, cuts are survived, and all comes back by HTTP', async () => {
    const booking = await bookingWithAttempt(world.database, 'acme', 'released');
    const sizes = [0.6, 0.2, 0.15, 0.05].map((share) => Math.floor(ARTIFACT_BYTES * share));
    for (const [i, size] of sizes.entries()) await sparse(join(folder, `model-${i}.bin`), size);
    const prefix = artifactsPrefix('acme', booking.bookingId, 1);
    const uri = pathToFileURL(folder).href;
    const bounds = { allowedFolders: [folder], allowedS3: [] };
    const total = sizes.reduce((sum, size) => sum + size, 0);
    const stop = new AbortController();
    const watching = setInterval(() => proxy.bytes.up > 0.4 * total && stop.abort(), 20);
    proxy.cutAfter('up', 6 * MB, 2);
    await measured('artifacts, first run, ended at 40 %', 0.4 * total, () =>
      expect(collect({ uri, store, keyPrefix: prefix, ...bounds, signal: stop.signal })).rejects.toThrow(),
    );
    clearInterval(watching);
    const sentBefore = proxy.bytes.up;
    proxy.cutAfter('up', 6 * MB, 3);
    let files: Awaited<ReturnType<typeof collect>> | undefined;
    await measured('artifacts, second run', total, async () => {
      files = await collect({ uri, store, keyPrefix: prefix, ...bounds, signal: AbortSignal.timeout(1_800_000) });
    });
    expect(files?.kind).toBe('collected');
    const sent = proxy.bytes.up - sentBefore;
    tell(
      `the second run sent ${(sent / MB).toFixed(0)} of ${(total / MB).toFixed(0)} MB; ${seen.partsResumed} parts were there; ${proxy.cuts} cuts`,
    );
    expect(sent).toBeLessThan(0.9 * total);
    if (files?.kind !== 'collected') return;
    const head = {
      tenant: 'acme',
      booking: booking.bookingId,
      attempt: 1,
      job: 'train',
      model: null,
      provider: 'memory',
    };
    const manifest = buildManifest({ ...head, outputsUri: uri, createdAt: '2026-11-26T00:00:00.000Z' }, files.files);
    await writeManifest(store, prefix, manifest);
    await world.database.db.asEngine((tx) => recordManifest(tx, prefix, manifest));
    proxy.cutAfter('down', 5 * MB, 3);
    await measured('artifacts, read back by HTTP', total, async () => {
      for (const file of manifest.files) {
        const hash = createHash('sha256');
        const response = await get(`/v1/jobs/${booking.bookingId}/artifacts/${file.path}`);
        for await (const chunk of response.body ?? []) hash.update(chunk);
        expect(hash.digest('hex')).toBe(file.sha256);
      }
    });
    expect(seen.readsResumed).toBeGreaterThan(0);
  }, 3_000_000);

  test('a log: copied while it runs over cuts, sealed, and read whole after its provider is gone', async () => {
    const booking = await bookingWithAttempt(world.database, 'acme');
    const epoch = await world.database.db.asEngine(async (tx) => {
      const rows = await tx.query<{ epoch: bigint }>(
        "update leader_epochs set epoch = epoch + 1 where name = 'engine' returning epoch",
      );
      return rows[0]?.epoch ?? 0n;
    });
    const log = { info: () => {}, warn: () => {}, error: () => {} };
    const keeper = new LogKeeper({ desk: postgresDesk(world.database.db, epoch), store, clock: systemClock, log });
    proxy.cutAfter('up', 500_000, 3);
    await measured('log, copied, read back and sealed', LOG_BYTES, () => keeper.complete(booking, 1, provider));
    const [row] = await world.database.db.asEngine((tx) =>
      tx.query<{ bytes: bigint; ended: string; sha256: string }>(
        'select bytes, ended, sha256 from job_logs where booking_id = $1',
        [booking.bookingId],
      ),
    );
    const wanted = createHash('sha256');
    for (let at = 0; at < LOG_BYTES; at += MB) wanted.update(logBytes(at, Math.min(LOG_BYTES, at + MB)));
    expect(row).toEqual({ bytes: BigInt(LOG_BYTES), ended: 'complete', sha256: wanted.digest('hex') });
    await measured('log, whole by HTTP', LOG_BYTES, async () => {
      const hash = createHash('sha256');
      for await (const chunk of (await get(`/v1/jobs/${booking.bookingId}/logs`)).body ?? []) hash.update(chunk);
      expect(hash.digest('hex')).toBe(row?.sha256);
    });
    const tail = await (await get(`/v1/jobs/${booking.bookingId}/logs?tail=2`)).text();
    expect(tail).toBe(logBytes(LOG_BYTES - 200, LOG_BYTES).toString());
    const part = await get(`/v1/jobs/${booking.bookingId}/logs`, { range: `bytes=${LOG_BYTES - 150}-` });
    expect(await part.text()).toBe(logBytes(LOG_BYTES - 150, LOG_BYTES).toString());
  }, 3_000_000);

  test('what this process held beyond what it began with is bounded', () => {
    expect(peak() - before.peak).toBeLessThan(MAX_GROWTH_BYTES);
  });
});

/** A file of holes with a number every 4 MB, so that no part is like another. */
async function sparse(path: string, size: number): Promise<void> {
  const file = await open(path, 'w');
  for (let at = 0; at < size; at += 4 * MB) await file.write(`part ${at}`, at);
  await file.close();
  await truncate(path, size);
}
