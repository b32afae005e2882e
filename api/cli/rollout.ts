import { type Client, ifMatch } from './client.ts';
import { EXIT } from './exit.ts';
import type { Invocation } from './invocation.ts';
import { facts, type Row, showOne } from './render.ts';
import { ROLLOUT } from './shapes.ts';
import type { Format } from './values.ts';

/** What the commands about a suite's rollout share. */

export function rolloutPath(suite: string): string {
  return `/v1/suites/${encodeURIComponent(suite)}/rollout`;
}

export function putRollout(
  client: Client,
  suite: string,
  wanted: { readonly suite?: object; readonly share: number },
  options: Invocation['options'],
): Promise<Row> {
  const body = { ...wanted, ...(options.force === true ? { force: true } : {}) };
  return client.json<Row>('PUT', rolloutPath(suite), { body, headers: ifMatch(options) });
}

export async function showRollout({ io, options }: Invocation, row: Row): Promise<number> {
  await showOne(io, options.output as Format, ROLLOUT, row, rolloutText(row));
  return EXIT.ok;
}

function rolloutText(row: Row): string {
  return facts([
    ['suite', row.suite],
    ['state', row.failure === null ? row.state : `${String(row.state)}: ${String(row.failure)}`],
    ['mode', row.mode],
    ['from', row.from],
    ['to', row.to],
    ['share', shareText(row)],
    ['scored up to', row.scoredTick],
    ['complete from', row.completeFrom === null && row.complete === true ? 'the first tick' : row.completeFrom],
    ['history', historyText(row)],
    ['refused by it only', row.refused],
    ['missed by it', row.missed],
    ['started', `${String(row.startedAt)} by ${String(row.startedBy)}`],
    ['changed', `${String(row.changedAt)} by ${String(row.changedBy)}`],
  ]);
}

/** A share that does not hold yet says so. */
function shareText({ share, shareInForce, state }: Row): string {
  const wanted = `${String(share)} %`;
  return share === shareInForce || state !== 'running' ? wanted : `${wanted}, in force ${String(shareInForce)} %`;
}

/** How far the reports from before the rollout are counted for the new version. */
export function historyText({ recompute }: Row): string | null {
  if (typeof recompute !== 'object' || recompute === null) return null;
  const { state, messages, ofMessages, counted, late, refused, failure } = recompute as Row;
  const head = state === 'failed' ? `failed: ${String(failure)}` : String(state);
  const refusals = refused === 0 ? '' : `, ${String(refused)} refused`;
  const lateness = late === 0 ? '' : `, ${String(late)} too late`;
  const read = `${String(messages)} of ${String(ofMessages)} messages read, ${String(counted)} reports counted`;
  return `${head}; ${read}${refusals}${lateness}`;
}
