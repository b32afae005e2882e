import { connect } from '../client.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showOne } from '../render.ts';
import { JOBS } from '../shapes.ts';
import { oneLine } from '../text.ts';
import type { Format } from '../values.ts';

/** State, every reason, and the mend of each. */
export default async function why(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const answer = await client.get<Row>(`/v1/jobs/${await jobIdOf(client, args[0] ?? '')}/why`);
  await showOne(io, options.output as Format, JOBS, answer, whyText(answer));
  return EXIT.ok;
}

/** Where it stands in its division's queue, when it would start, and the least that would let it start now. */
export function queueLines({ position, eta, smallestChange }: Row): readonly string[] {
  const change = smallestChange as Row | null | undefined;
  return [
    ...(position == null ? [] : [`  place in its division's queue: ${String(position)}`]),
    ...(eta == null ? [] : [`  starts at the latest, if every lease runs out: ${oneLine(String(eta))}`]),
    ...(change == null ? [] : [`  would start now with: ${oneLine(String(change.text))}`]),
  ];
}

export function whyText(answer: Row): string {
  const reasons = Array.isArray(answer.reasons) ? (answer.reasons as readonly Row[]) : [];
  const attempts = Array.isArray(answer.attempts) ? (answer.attempts as readonly Row[]) : [];
  const lines = [
    `${oneLine(String(answer.name ?? answer.id))} is ${oneLine(String(answer.state))} (attempt ${String(answer.attempt)})`,
  ];
  for (const reason of reasons) {
    lines.push(`  ${oneLine(String(reason.code))}: ${oneLine(String(reason.text))}`);
    if (answer.state !== 'released' && reason.mend !== undefined && reason.mend !== '')
      lines.push(`    mend: ${oneLine(String(reason.mend))}`);
  }
  if (reasons.length === 0) lines.push('  nothing stands against it');
  lines.push(...queueLines(answer));
  const told = new Set(reasons.map((reason) => reason.text));
  for (const attempt of attempts) {
    const outcome = attempt.outcome === null ? 'live' : String(attempt.outcome);
    lines.push(
      `  attempt ${String(attempt.attempt)} on ${oneLine(String(attempt.pool))}/${oneLine(String(attempt.flavour))}: ${oneLine(outcome)}${attempt.message === null || attempt.message === undefined || told.has(attempt.message) ? '' : `, ${oneLine(String(attempt.message))}`}`,
    );
  }
  return `${lines.join('\n')}\n`;
}
