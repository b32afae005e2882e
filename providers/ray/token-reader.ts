import { readFile } from 'node:fs/promises';
import { RayJobError } from 'ray-job-submission-client';
import { OperatingError } from '../../core/operating-error.ts';
import type { Static } from '../../core/schema.ts';
import type { Clock } from '../../platform/clock.ts';
import { type AwsSecretSource, readSecretSource, type SecretSource } from '../../platform/secret-source.ts';
import type { RayConfig } from './config.ts';

/** The token in AWS Secrets Manager, as pools name it. */
export type TokenSecret = Readonly<Static<typeof AwsSecretSource>>;

/** While Ray refuses what it holds, Secrets Manager is asked no more often than this: each call there is paid for. */
export const AGAIN_AFTER_MS = 5_000;

/** How the token is read: when it is first wanted, and again when Ray refuses it. undefined: the pool names none. */
export function tokenReader(
  { tokenFile, tokenSecret }: Pick<RayConfig, 'tokenFile' | 'tokenSecret'>,
  clock: Pick<Clock, 'now'>,
): (() => Promise<string>) | undefined {
  if (tokenSecret !== undefined) return secretReader(tokenSecret, clock);
  if (tokenFile === undefined) return undefined;
  return async () => {
    try {
      return await readFile(tokenFile, 'utf8');
    } catch (cause) {
      throw new RayJobError('auth', `the token file ${tokenFile} cannot be read`, { cause });
    }
  };
}

function secretReader(
  { awsSecret, field, region, endpoint, profile }: TokenSecret,
  clock: Pick<Clock, 'now'>,
): () => Promise<string> {
  const source: SecretSource = { kind: 'aws', place: { id: awsSecret, region, endpoint, profile }, member: field };
  let last: { readonly token: string; readonly atMs: number } | undefined;
  return async () => {
    const nowMs = clock.now();
    if (last !== undefined && nowMs - last.atMs < AGAIN_AFTER_MS) return last.token;
    try {
      const token = (await readSecretSource(source, 'tokenSecret')).reveal();
      last = { token, atMs: nowMs };
      return token;
    } catch (cause) {
      throw new RayJobError(codeOf(cause), `the Ray token cannot be read: ${(cause as Error).message}`, { cause });
    }
  };
}

/** A service that does not answer now says nothing about the token. */
function codeOf(error: unknown): 'auth' | 'unreachable' | 'timeout' {
  if (!(error instanceof OperatingError)) return 'auth';
  return error.code === 'unreachable' || error.code === 'timeout' ? error.code : 'auth';
}
