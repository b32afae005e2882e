import { randomBytes } from 'node:crypto';
import { type Client, connect } from '../client.ts';
import { CliError, EXIT, usage } from '../exit.ts';
import { followJob } from '../follow.ts';
import type { Invocation } from '../invocation.ts';
import { jobFile, withDivision } from '../job-file.ts';
import { endExit } from '../job-ref.ts';
import { facts, type Row, showOne, table } from '../render.ts';
import { JOBS, jobText } from '../shapes.ts';
import { oneLine } from '../text.ts';
import type { Format } from '../values.ts';
import { storeWorkdir } from '../workdir.ts';
import { queueLines, whyText } from './why.ts';

/** Plan, confirm, follow. Ctrl-C while following detaches: the job goes on. */
export default async function submit(invocation: Invocation): Promise<number> {
  const { options, io, signal } = invocation;
  const format = options.output as Format;
  const asks = options.yes !== true && options.dryRun !== true;
  if (asks && !(io.stdinIsTerminal && io.stderrIsTerminal)) {
    throw usage('submit books capacity, and there is no terminal to ask on', 'add --yes, or --dry-run to see the plan');
  }
  const given = await jobFile(invocation);
  const client = await connect(invocation);
  const job = await withDivision(client, io, given);
  const plan = await client.json<Row>('POST', '/v1/jobs:plan', { body: { ...job, ...planWorkdir(job) } });
  if (options.dryRun === true) {
    await showOne(io, format, JOBS, plan, planText(plan));
    return plan.verdict === 'infeasible' ? EXIT.denied : EXIT.ok;
  }
  if (asks) {
    io.note(planText(plan).trimEnd());
    if (!(await io.confirm('Book it?', signal))) {
      io.note('nothing was booked');
      return EXIT.ok;
    }
  }
  const booked = await book(client, invocation, job);
  return after(client, invocation, format, booked);
}

/** A plan needs no code: a local folder is stored only once it is booked. */
function planWorkdir(job: Readonly<Record<string, unknown>>): object {
  return typeof job.workdir === 'string' && !job.workdir.startsWith('code:')
    ? { workdir: `code:${'0'.repeat(64)}` }
    : {};
}

const BOOK_TRIES = 3;

async function book(client: Client, { io }: Invocation, job: Readonly<Record<string, unknown>>): Promise<Row> {
  const code = typeof job.workdir === 'string' ? { workdir: await storeWorkdir(client, io, job.workdir) } : {};
  // One key for all tries: a reply that was lost does not book twice.
  const headers = { 'idempotency-key': randomBytes(16).toString('hex') };
  for (let attempt = 1; ; attempt++) {
    try {
      return await client.json<Row>('POST', '/v1/jobs', { body: { ...job, ...code }, headers });
    } catch (error) {
      if (!(error instanceof CliError) || error.exitCode !== EXIT.unreachable || attempt === BOOK_TRIES) throw error;
    }
  }
}

async function after(client: Client, invocation: Invocation, format: Format, booked: Row): Promise<number> {
  const { options, io, signal } = invocation;
  const id = String(booked.id);
  if (options.detach === true) {
    await showOne(io, format, JOBS, booked, `${id}\n`);
    return EXIT.ok;
  }
  io.note(`booked as ${id}; Ctrl-C detaches, "merit cancel ${id}" ends it`);
  let ended: Row;
  try {
    // With -o json stdout carries the job alone, so its log stays out of it.
    ended = await followJob(client, io, id, signal, options.wait !== true && (format === 'table' || format === 'wide'));
  } catch (error) {
    if (!signal.aborted) throw error;
    io.note(`detached; the job goes on: merit logs ${id} -f`);
    return EXIT.interrupted;
  }
  if (options.wait === true || (format !== 'table' && format !== 'wide'))
    await showOne(io, format, JOBS, ended, jobText(ended));
  const exit = endExit(ended.state) ?? EXIT.internal;
  if (exit !== EXIT.ok) io.note(whyText(await client.get<Row>(`/v1/jobs/${id}/why`)).trimEnd());
  return exit;
}

/** What the pool is priced at, and what its provider asks for where that differs. */
function priceText({ price, currency, quote }: Row): string {
  const asked = quote === null || quote === undefined || quote === `${String(price)} ${String(currency)}`;
  return asked ? String(price) : `${String(price)} (quoted ${String(quote)})`;
}

export function planText(plan: Row): string {
  const offers = Array.isArray(plan.offers) ? (plan.offers as readonly Row[]) : [];
  const head = facts([
    ['job', plan.name],
    ['division', plan.division],
    ['asks', plan.asks],
    ['lease', plan.lease],
    ['policy', plan.policy],
  ]);
  const body =
    offers.length === 0
      ? ''
      : table(
          [
            { head: '', cell: (row) => (row.chosen === true ? '→' : ' ') },
            { head: 'POOL', cell: (row) => row.pool },
            { head: 'FLAVOUR', cell: (row) => row.flavour },
            { head: 'PROVIDER', cell: (row) => row.provider },
            { head: 'PRICE/H', cell: priceText },
            { head: 'STARTS', cell: (row) => row.starts ?? row.wait },
            { head: 'COSTS AT MOST', cell: (row) => `${String(row.maxCost)} ${String(row.currency)}` },
            { head: 'FREE', cell: (row) => row.free },
            { head: 'QUOTA LEFT', cell: (row) => row.quotaLeft },
            { head: 'BUDGET LEFT', cell: (row) => row.budgetLeft },
          ],
          offers,
        );
  const reasons = Array.isArray(plan.reasons) ? (plan.reasons as readonly Row[]) : [];
  const stands = reasons
    .map(
      (reason) =>
        `  ${oneLine(String(reason.code))}: ${oneLine(String(reason.text))} (${oneLine(String(reason.mend))})\n`,
    )
    .join('');
  const verdict =
    {
      admit: 'It starts at once.\n',
      preempt: `It makes others leave: ${Array.isArray(plan.preempts) ? oneLine(plan.preempts.join(', ')) : ''}\n`,
      wait: `It has to wait:\n${stands}${queueLines(plan)
        .map((line) => `${line}\n`)
        .join('')}`,
      infeasible: `It can never run there:\n${stands}`,
    }[String(plan.verdict)] ?? stands;
  return `${head}${body}${verdict}`;
}
