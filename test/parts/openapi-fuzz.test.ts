import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { schemathesis } from './schemathesis.ts';

const missing = partMissing(schemathesis);
/** Cases an operation, of each phase. */
const EXAMPLES = process.env.MERIT_PROOFS === 'whole' ? 20 : 10;
const LEAST_REQUESTS = 2_000;
const LIMIT_MS = 600_000;
const MOST_SAID = 256 * 1024 * 1024;
/** What an answer is held to. */
const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'unsupported_method',
  'allow_header_conformance',
  'ignored_auth',
];

describe.skipIf(missing !== undefined)(`our own OpenAPI${missing === undefined ? '' : ` (${missing})`}`, () => {
  let world: HttpWorld;

  beforeAll(async () => {
    world = await httpWorld(['suite-rollouts']);
    await world.app.listen({ host: '127.0.0.1', port: 0 });
  }, 60_000);
  afterAll(async () => {
    await world?.close();
  });

  test(
    'is what the server does: no request has a server error, and no answer another shape',
    async () => {
      const { python } = await sharedPart(schemathesis);
      const { port } = world.app.server.address() as AddressInfo;
      const { code, told } = await run(python, [
        ...['-m', 'schemathesis.cli', 'run', `http://127.0.0.1:${port}/openapi.json`],
        ...['-H', 'Authorization: Bearer token-of-acme-0123456789'],
        ...['--checks', CHECKS.join(), '--phases', 'examples,coverage,fuzzing', '--max-examples', String(EXAMPLES)],
        ...['--seed', '1', '--request-timeout', '20', '--no-color', '--continue-on-failure'],
        ...['--suppress-health-check', 'all', '--warnings', 'off', '--workers', '2'],
        // Answers that go on coming.
        ...['--exclude-path-regex', '/events$|/logs$|/stream$'],
      ]);
      expect(code, told).toBe(0);
      const [, generated, skipped = '0'] = /Test cases:\s+([0-9]+) generated(?:.*?([0-9]+) skipped)?/.exec(told) ?? [];
      expect(Number(generated) - Number(skipped), told).toBeGreaterThanOrEqual(LEAST_REQUESTS);
      process.stderr.write(`${generated} requests made of our OpenAPI, ${skipped} skipped: every answer as it says\n`);
    },
    LIMIT_MS,
  );
});

function run(
  program: string,
  args: readonly string[],
): Promise<{ readonly code: number | null; readonly told: string }> {
  return new Promise((resolve, reject) => {
    // It leaves its examples where it runs.
    const cwd = mkdtempSync(join(tmpdir(), 'merit-openapi-'));
    const child = execFile(program, args, { cwd, maxBuffer: MOST_SAID }, (error, stdout, stderr) => {
      rmSync(cwd, { recursive: true, force: true });
      if (error !== null && typeof error.code !== 'number') reject(error);
      else resolve({ code: child.exitCode, told: `${stdout}\n${stderr}` });
    });
  });
}
