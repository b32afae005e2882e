import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageUri, RayJobClient, RayJobError, zipFolder } from 'ray-job-submission-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rayForTests, rayMissing, type TestRay } from '../support/ray.ts';

const missing = rayMissing();

describe.skipIf(missing !== undefined)(
  `the client on a real Ray${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    let ray: TestRay;
    let client: RayJobClient;
    let count = 0;
    const run = Date.now().toString(36);
    const nextId = () => `c-${run}-${++count}`;

    beforeAll(async () => {
      ray = await rayForTests();
      client = new RayJobClient({ address: ray.address, token: ray.token });
    });
    afterAll(async () => {
      client?.close();
      await ray?.stop();
    });

    async function failureOf(work: Promise<unknown>): Promise<RayJobError> {
      const failure = await work.then(
        () => undefined,
        (error) => error,
      );
      expect(failure).toBeInstanceOf(RayJobError);
      return failure as RayJobError;
    }

    async function until(id: string, statuses: readonly string[]) {
      for (;;) {
        const job = await client.get(id);
        if (statuses.includes(job.status)) return job;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }

    async function tailed(id: string, fromByte: number): Promise<string> {
      const parts: Uint8Array[] = [];
      for await (const part of client.tail(id, { fromByte })) parts.push(part);
      return Buffer.concat(parts).toString('utf8');
    }

    test('learns its version, with the token only: 401 without, 403 with a wrong one', async () => {
      expect(await client.version()).toMatchObject({ rayVersion: '2.60.0' });
      expect(await client.statusWithoutToken()).toBe(401);
      expect(await failureOf(new RayJobClient({ address: ray.address }).list())).toMatchObject({
        code: 'auth',
        status: 401,
      });
      const wrong = new RayJobClient({ address: ray.address, token: 'wrong' });
      expect(await failureOf(wrong.list())).toMatchObject({ code: 'auth', status: 403 });
      const tail = wrong.tail('x')[Symbol.asyncIterator]();
      expect(await failureOf(tail.next())).toMatchObject({ code: 'auth', status: 403 });
    });

    test('waits for the job agent without leaving a job behind', async () => {
      await client.waitForAgent();
      expect((await client.list()).filter((job) => job.entrypoint === 'true')).toEqual([]);
    });

    test('runs a job in its uploaded folder and reads its log whole, in parts, and as it grows', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'merit-package-'));
      await mkdir(join(folder, 'sub'));
      await writeFile(join(folder, 'sub', 'data.txt'), 'grün 😀\n');
      await writeFile(join(folder, 'run.sh'), 'cat sub/data.txt; echo "$WORD"; exit 3\n', { mode: 0o755 });
      const zip = await zipFolder(folder);
      const name = `c_${run}_${zip.sha256.slice(0, 16)}.zip`;
      expect(await client.packageExists(name)).toBe(false);
      await client.uploadPackage(name, zip.bytes);
      expect(await client.packageExists(name)).toBe(true);
      const id = nextId();
      const env = { WORD: '$(id); "x"' };
      expect(
        await client.submit({
          submissionId: id,
          entrypoint: './run.sh',
          env,
          workingDir: packageUri(name),
          metadata: { a: 'b' },
        }),
      ).toEqual({ submissionId: id });
      const grown = await tailed(id, 0);
      // Ray's own lines are buffered and may come before the job's or after.
      expect(grown).toContain('grün 😀\n$(id); "x"\n');
      const job = await until(id, ['FAILED']);
      expect(job).toMatchObject({
        exitCode: 3,
        errorType: 'JOB_ENTRYPOINT_COMMAND_ERROR',
        metadata: { a: 'b' },
        submissionId: id,
      });
      const bytes = Buffer.from(grown, 'utf8');
      const from = bytes.indexOf('grün');
      expect((await client.logs(id)).equals(bytes)).toBe(true);
      expect((await client.logs(id, { fromByte: from, maxBytes: 5 })).toString()).toBe('grün');
      expect(await client.logs(id, { fromByte: bytes.length })).toHaveLength(0);
      expect(await tailed(id, from)).toBe(bytes.subarray(from).toString());
      expect(await client.delete(id)).toBe(true);
      expect(await failureOf(client.get(id))).toMatchObject({ code: 'not_found' });
      await rm(folder, { recursive: true });
    });

    test('is told already_exists by a second submit of an id, and the first one goes on', async () => {
      const id = nextId();
      await client.submit({ submissionId: id, entrypoint: 'sleep 60' });
      expect(await failureOf(client.submit({ submissionId: id, entrypoint: 'false' }))).toMatchObject({
        code: 'already_exists',
        outcomeUnknown: false,
      });
      await until(id, ['RUNNING']);
      expect(await failureOf(client.delete(id))).toMatchObject({ code: 'invalid' });
      expect(await client.stop(id)).toBe(true);
      expect(await until(id, ['STOPPED'])).toMatchObject({ exitCode: undefined });
      // Its supervisor may be there for a moment longer than the word.
      await expect.poll(() => client.stop(id), { timeout: 15_000 }).toBe(false);
      expect((await client.list()).find((job) => job.submissionId === id)).toMatchObject({ status: 'STOPPED' });
    });

    test('finds 20,000 characters in the message of a job that printed a 2 MB traceback, and 2 MB in its log', async () => {
      const id = nextId();
      const code = "import sys; sys.stderr.write('Traceback\\n' + 'x' * 2_000_000); sys.exit(7)";
      await client.submit({ submissionId: id, entrypoint: `python -c "${code}"` });
      const job = await until(id, ['FAILED']);
      expect(job.exitCode).toBe(7);
      expect(job.message.length).toBeLessThan(21_000);
      expect((await client.logs(id, { maxBytes: 10_000_000 })).length).toBeGreaterThan(2_000_000);
      expect((await client.logs(id, { fromByte: 1_500_000, maxBytes: 100 })).toString()).toBe('x'.repeat(100));
    });

    test('is told not_found of an id that Ray does not know, by every verb', async () => {
      for (const work of [client.get('none'), client.logs('none'), client.stop('none'), client.delete('none')]) {
        expect(await failureOf(work)).toMatchObject({ code: 'not_found' });
      }
      expect(await failureOf(client.tail('none').next())).toMatchObject({ code: 'not_found' });
    });

    test('sees the nodes with the names of their resources kept', async () => {
      for (;;) {
        const [node] = await client.nodes();
        if (node !== undefined) {
          expect(node.resources.get('GPU')).toMatchObject({ total: 4 });
          expect(node.resources.get('pool_a')).toMatchObject({ total: 2 });
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    });
  },
);
