import type { Statement } from '../../../core/approval.ts';
import { connect } from '../client.ts';
import { EXIT, usage } from '../exit.ts';
import { readDescription } from '../files.ts';
import type { CommandModule } from '../invocation.ts';
import { type Row, showList, showOne } from '../render.ts';
import { PROPOSALS, proposalFacts } from '../signing/shapes.ts';
import { signShown } from '../signing/sign.ts';
import type { Shown } from '../signing/words.ts';
import type { Format } from '../values.ts';

/** What several people have to sign before it happens. */

const pathOf = (id: string | undefined) => `/v1/proposals/${encodeURIComponent(id ?? '')}`;

export const list: CommandModule = {
  default: async ({ options, io, signal }) => {
    const query = options.all === true ? '' : '?state=open';
    const client = await connect({ io, signal });
    await showList(io, options.output as Format, PROPOSALS, await client.all<Row>(`/v1/proposals${query}`));
    return EXIT.ok;
  },
};

export const get: CommandModule = {
  default: async (invocation) => {
    const client = await connect(invocation);
    const row = await client.get<Row>(pathOf(invocation.args[0]));
    await showOne(invocation.io, invocation.options.output as Format, PROPOSALS, row, proposalFacts(row));
    return EXIT.ok;
  },
};

/** Another signing policy, or none. */
export const propose: CommandModule = {
  default: async (invocation) => {
    const { options, io } = invocation;
    if ((options.file === undefined) === (options.remove !== true))
      throw usage('name the next SigningPolicy, or ask for none', 'add -f FILE, or --remove: one of the two');
    const document = options.remove === true ? null : await readDescription(io, String(options.file));
    const client = await connect(invocation);
    const body = {
      action: 'signing-policy.change',
      document,
      ...(options.reason === undefined ? {} : { reason: options.reason }),
    };
    const row = await client.json<Shown>('POST', '/v1/proposals', { body });
    io.note(
      `it stands when ${row.needed.signatures} of those who may sign now have signed it: merit proposals approve ${row.id}`,
    );
    await showOne(io, options.output as Format, PROPOSALS, row, proposalFacts(row));
    return EXIT.ok;
  },
};

const signs = (verdict: Statement['verdict']): CommandModule => ({
  default: async (invocation) => {
    const { args, options, io } = invocation;
    const client = await connect(invocation);
    const path = pathOf(args[0]);
    const signed = await signShown(invocation, client, await client.get<Shown>(path), verdict, `${path}:${verdict}`);
    if (typeof signed === 'object')
      await showOne(io, options.output as Format, PROPOSALS, signed, proposalFacts(signed));
    return EXIT.ok;
  },
});

export const approve = signs('approve');
export const reject = signs('reject');
