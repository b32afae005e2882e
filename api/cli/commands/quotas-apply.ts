import { connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import { readDescription } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { facts, type Row, showOne } from '../render.ts';
import { BALANCES } from '../shapes.ts';
import type { Format } from '../values.ts';

/** Sets a division's budget; quotas are part of their pool's file. */
export default async function quotasApply(invocation: Invocation): Promise<number> {
  const { options, io } = invocation;
  const document = await readDescription(io, String(options.file));
  if (document.kind !== 'Budget')
    throw new CliError(EXIT.badValue, 'kind', 'kind: must be Budget', {
      mend: 'quotas are set in their pool: merit pools apply',
    });
  if (typeof document.division !== 'string')
    throw new CliError(EXIT.badValue, 'required', 'division: is missing in the file', { mend: 'add division: …' });
  const client = await connect(invocation);
  const budget = await client.json<Row>('PUT', `/v1/budgets/${encodeURIComponent(document.division)}`, {
    body: document,
  });
  await showOne(io, options.output as Format, BALANCES, budget, facts(Object.entries(budget)));
  return EXIT.ok;
}
