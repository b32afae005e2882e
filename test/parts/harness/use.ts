import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { inject } from 'vitest';
import type { Part } from './part.ts';

/**
 * Why tests on the part cannot run here, with the command that provides it; undefined where they can. Throws that text where
 * MERIT_REQUIRE_PARTS=1 (CI): there, a missing part is a failure and never a skip.
 */
export function partMissing(part: Part): string | undefined {
  const missing = part.needs.map(partMissing).find((reason) => reason !== undefined) ?? part.missing();
  if (missing !== undefined && process.env.MERIT_REQUIRE_PARTS === '1') throw new Error(missing);
  return missing;
}

/** What is to be known of the run's one instance of the part; it is started where nobody asked before. */
export async function sharedPart<Facts>(part: Part<Facts>): Promise<Facts> {
  const { facts } = await ask<{ facts: Facts }>('POST', `/shared/${part.name}`);
  return facts;
}

export interface OwnPart<Facts> {
  readonly facts: Facts;
  stop(): Promise<void>;
}

/** An instance that the caller may break. What is not stopped ends with the run. */
export async function ownPart<Facts>(part: Part<Facts>): Promise<OwnPart<Facts>> {
  const { id, facts } = await ask<{ id: string; facts: Facts }>('POST', `/own/${part.name}`);
  return { facts, stop: () => ask('DELETE', `/own/${id}`) };
}

function ask<Answer>(method: string, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath: inject('partsSocket'), method, path }, async (response) => {
      const answer = JSON.parse(await text(response)) as Answer & { error?: string };
      if (response.statusCode === 200) resolve(answer);
      else reject(new Error(answer.error));
    });
    asked.on('error', reject);
    asked.end();
  });
}
