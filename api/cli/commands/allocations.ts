import { TRANSITIONS } from '../../../core/booking.ts';
import { connect } from '../client.ts';
import { CliError, EXIT, usage } from '../exit.ts';
import type { CommandModule, Invocation } from '../invocation.ts';
import { allocationIdOf } from '../job-ref.ts';
import { type Row, showList, showOne } from '../render.ts';
import { JOBS, jobText } from '../shapes.ts';
import { PROPOSALS, proposalFacts } from '../signing/shapes.ts';
import { signShown } from '../signing/sign.ts';
import type { Shown } from '../signing/words.ts';
import type { Format } from '../values.ts';

/** Allocations: the bookings, with what people have to sign of them. */

export const list: CommandModule = {
  default: async ({ options, io, signal }) => {
    if (options.state !== undefined && !Object.hasOwn(TRANSITIONS, String(options.state)))
      throw new CliError(
        EXIT.badValue,
        'state',
        `--state: ${JSON.stringify(options.state)} is no state of an allocation`,
        {
          mend: `write one of ${Object.keys(TRANSITIONS).join(', ')}`,
        },
      );
    const query = new URLSearchParams();
    for (const name of ['state', 'division', 'model'])
      if (options[name] !== undefined) query.set(name, String(options[name]));
    const client = await connect({ io, signal });
    const path = `/v1/allocations${query.size === 0 ? '' : `?${query}`}`;
    await showList(io, options.output as Format, JOBS, await client.all<Row>(path));
    return EXIT.ok;
  },
};

export const get: CommandModule = {
  default: async (invocation) => {
    const { args, options, io } = invocation;
    const client = await connect(invocation);
    const row = await client.get<Row>(`/v1/allocations/${await allocationIdOf(client, args[0] ?? '')}`);
    const proposals = row.proposals as readonly Row[];
    const text = [jobText(row), ...proposals.map(proposalFacts)].join('\n');
    await showOne(io, options.output as Format, JOBS, row, text);
    return EXIT.ok;
  },
};

export const approve: CommandModule = {
  default: async (invocation) => {
    const { args, options, io } = invocation;
    const client = await connect(invocation);
    const id = await allocationIdOf(client, args[0] ?? '');
    const { proposals, state } = await client.get<Row & { proposals: readonly Shown[] }>(`/v1/allocations/${id}`);
    const shown = proposals.find(({ action }) => action === 'allocation.apply');
    if (shown === undefined)
      throw new CliError(
        EXIT.conflict,
        'nothing_to_sign',
        `nobody has to sign it: the allocation is ${String(state)}`,
        {
          mend: 'see `merit why`',
        },
      );
    const signed = await signShown(invocation, client, shown, 'approve', `/v1/allocations/${id}:approve`);
    if (typeof signed === 'object')
      await showOne(io, options.output as Format, PROPOSALS, signed, proposalFacts(signed));
    return EXIT.ok;
  },
};

export const request: CommandModule = {
  default: async (invocation) => {
    const { options, io } = invocation;
    const client = await connect(invocation);
    const { division, amount, currency, purpose, agent, lease } = options;
    const body = { division, amount, currency, purpose, agent, lease };
    const row = await client.json<Row>('POST', '/v1/allocations', { body });
    io.note(`asked for: merit allocations get ${String(row.id)}`);
    await showOne(io, options.output as Format, JOBS, row, jobText(row));
    return EXIT.ok;
  },
};

export const close: CommandModule = {
  default: async (invocation) => {
    const { args, options, io } = invocation;
    const client = await connect(invocation);
    const id = await allocationIdOf(client, args[0] ?? '');
    const row = await client.json<Row>('POST', `/v1/allocations/${id}:close`, { body: { spent: options.spent } });
    await showOne(io, options.output as Format, JOBS, row, jobText(row));
    return EXIT.ok;
  },
};

export const revoke: CommandModule = { default: proposeRevoke };

async function proposeRevoke(invocation: Invocation): Promise<number> {
  const { args, options, io, signal } = invocation;
  if (options.yes !== true && !(io.stdinIsTerminal && io.stderrIsTerminal))
    throw usage('revoke ends what runs, and there is no terminal to ask on', 'add --yes');
  const client = await connect(invocation);
  const id = await allocationIdOf(client, args[0] ?? '');
  if (options.yes !== true) {
    const job = await client.get<Row>(`/v1/allocations/${id}`);
    const question = `Propose to revoke ${String(job.name)} (${id}) of ${String(job.requester)}, which is ${String(job.state)}?`;
    if (!(await io.confirm(question, signal))) {
      io.note('nothing was done');
      return EXIT.ok;
    }
  }
  const proposal = await client.json<Shown>('POST', `/v1/allocations/${id}:revoke`, {
    body: { reason: options.reason },
  });
  io.note(`it is revoked when ${proposal.needed.signatures} signed: merit proposals approve ${proposal.id}`);
  await showOne(io, options.output as Format, PROPOSALS, proposal, proposalFacts(proposal));
  return EXIT.ok;
}
