import type { Json } from '../../core/canonical.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { check } from '../../core/schema.ts';
import { centsOf, type Money } from '../money.ts';
import {
  type Answer,
  type PeerServer,
  problemAnswer,
  type Route,
  refusedAnswer,
  type SimulatorTls,
  startPeerServer,
} from '../simulator-server.ts';
import { Slug } from '../wire.ts';
import { Book, type Budgets, budgetsRefusals, type Command, UNLIMITED } from './book.ts';
import { Journal } from './journal.ts';
import { ReportShelf, type ToldMonth } from './report-routes.ts';
import { ConfirmRequest, type Hold, HoldRequest, MAX_PAGE, ReverseRequest, SettleRequest } from './wire.ts';

export type FinanceRoute = 'hold' | 'confirm' | 'settle' | 'reverse' | 'get' | 'list' | 'report' | 'report-part';

export interface FinanceSimulator extends PeerServer {
  /** Other budgets from the next call on; what is held stays. Throws RefusedInput. */
  setBudgets(budgets: Budgets): void;
  /** The next `times` new holds are refused with this. */
  refuseNext(reason: { readonly code: string; readonly text: string }, times?: number): void;
  /** As the book has it, without a call. */
  get(holdId: string): Hold | undefined;
  /** What it was told of a month, by tenant and month: `acme-2026-11`. */
  report(id: string): ToldMonth | undefined;
  /** Held, confirmed and settled of a division, in minor units. */
  used(tenant: string, division: string, currency: string): bigint;
}

export interface FinanceSimulatorOptions {
  readonly journalPath: string;
  readonly budgets?: Budgets;
  /** As SentinelNet's: asked before each hold. */
  readonly reload?: () => Budgets | undefined;
  readonly tls?: SimulatorTls | undefined;
  readonly port?: number;
}

/** Calls that wait for their turn at the journal. */
const MAX_QUEUED = 1000;

/** A Finance with budgets and a book of holds that survives its own death, on the real wire. */
export async function startFinanceSimulator(options: FinanceSimulatorOptions): Promise<FinanceSimulator> {
  const book = new Book();
  const setBudgets = (budgets: Budgets) => {
    const refusals = budgetsRefusals(budgets);
    if (refusals.length > 0) throw new RefusedInput(refusals);
    book.setBudgets(budgets);
  };
  setBudgets(options.budgets ?? UNLIMITED);
  const journal = await Journal.open(options.journalPath, (hold) => book.commit(hold));
  const refusals: { code: string; text: string }[] = [];
  const run = oneAtATime(async (command: Command): Promise<Answer> => {
    const plan = book.plan(command);
    if (plan.kind === 'problem') return problemAnswer(plan.status, plan.code, plan.detail);
    if (plan.kind === 'change') {
      await journal.append(plan.hold);
      book.commit(plan.hold);
    }
    return { status: 200, body: plan.hold as unknown as Json };
  });
  const hold = (request: HoldRequest): Promise<Answer> | Answer => {
    try {
      const next = options.reload?.();
      if (next !== undefined) setBudgets(next);
    } catch (error) {
      return problemAnswer(
        503,
        'budgets_unreadable',
        error instanceof RefusedInput ? error.message : 'the budgets cannot be read',
      );
    }
    const refusal = book.get(request.holdId) === undefined ? refusals.shift() : undefined;
    return run({ type: 'hold', request, refusal });
  };
  const shelf = new ReportShelf();
  const routes = [...routesOf(book, hold, run), ...shelf.routes()];
  const server = await startPeerServer(routes, options).catch(async (error) => {
    await journal.close();
    throw error;
  });
  return {
    ...server,
    setBudgets,
    refuseNext: (reason, times = 1) => {
      for (let i = 0; i < times; i++) refusals.push({ ...reason });
    },
    get: (holdId) => book.get(holdId),
    report: (id) => shelf.get(id),
    used: (tenant, division, currency) => book.used(tenant, division, currency),
    close: async () => {
      await server.close();
      await run.settled();
      await journal.close();
    },
  };
}

interface Queue {
  (command: Command): Promise<Answer>;
  settled(): Promise<void>;
}

/** Plan, write and commit of one call end before those of the next begin: a plan is never made on a book that lags. */
function oneAtATime(work: (command: Command) => Promise<Answer>): Queue {
  let last: Promise<unknown> = Promise.resolve();
  let queued = 0;
  const run = (command: Command): Promise<Answer> => {
    if (queued >= MAX_QUEUED) return Promise.resolve(problemAnswer(503, 'busy', 'too many calls wait'));
    queued++;
    const mine = last
      .then(() => work(command))
      .catch((error: unknown) => {
        if (error instanceof OperatingError) return problemAnswer(503, 'storage', 'the book cannot be written');
        throw error;
      })
      .finally(() => {
        queued--;
      });
    last = mine.catch(() => {});
    return mine;
  };
  return Object.assign(run, { settled: () => last.then(() => {}) });
}

function routesOf(
  book: Book,
  hold: (request: HoldRequest) => Promise<Answer> | Answer,
  run: Queue,
): readonly (Route & { readonly name: FinanceRoute })[] {
  return [
    {
      name: 'hold',
      method: 'POST',
      path: /^\/v1\/holds$/,
      handle: ({ body }) => {
        const refusals = [...check(HoldRequest, body)];
        if (refusals.length === 0) refusals.push(...moneyRefusals((body as unknown as HoldRequest).amount));
        return refusals.length > 0 ? refusedAnswer(refusals) : hold(body as unknown as HoldRequest);
      },
    },
    {
      name: 'confirm',
      method: 'POST',
      path: /^\/v1\/holds\/([A-Za-z0-9._-]{1,64})\/confirm$/,
      handle: ({ params, body }) => {
        const refusals = check(ConfirmRequest, body);
        return refusals.length > 0 ? refusedAnswer(refusals) : run({ type: 'confirm', holdId: params[0]! });
      },
    },
    {
      name: 'settle',
      method: 'POST',
      path: /^\/v1\/holds\/([A-Za-z0-9._-]{1,64})\/settle$/,
      handle: ({ params, body }) => {
        const refusals = [...check(SettleRequest, body)];
        if (refusals.length === 0) refusals.push(...moneyRefusals(body.amount as unknown as Money));
        return refusals.length > 0
          ? refusedAnswer(refusals)
          : run({ type: 'settle', holdId: params[0]!, amount: body.amount as unknown as Money });
      },
    },
    {
      name: 'reverse',
      method: 'POST',
      path: /^\/v1\/holds\/([A-Za-z0-9._-]{1,64})\/reverse$/,
      handle: ({ params, body }) => {
        const refusals = check(ReverseRequest, body);
        return refusals.length > 0
          ? refusedAnswer(refusals)
          : run({ type: 'reverse', holdId: params[0]!, tenant: body.tenant as string });
      },
    },
    {
      name: 'get',
      method: 'GET',
      path: /^\/v1\/holds\/([A-Za-z0-9._-]{1,64})$/,
      handle: ({ params }) => {
        const found = book.get(params[0]!);
        return found === undefined
          ? problemAnswer(404, 'hold_unknown', 'no hold has this id')
          : { status: 200, body: found as unknown as Json };
      },
    },
    { name: 'list', method: 'GET', path: /^\/v1\/holds$/, handle: ({ query }) => listAnswer(book, query) },
  ];
}

function listAnswer(book: Book, query: URLSearchParams): Answer {
  const tenant = query.get('tenant') ?? '';
  const limit = query.get('limit') ?? '100';
  const refusals: Refusal[] = [];
  if (check(Slug, tenant).length > 0) refusals.push(refuse('charset', 'tenant', 'must name a tenant', 'add ?tenant=…'));
  if (!/^[1-9][0-9]{0,2}$/.test(limit) || Number(limit) > MAX_PAGE)
    refusals.push(refuse('range', 'limit', `must be 1 to ${MAX_PAGE}`, 'choose less'));
  if (refusals.length > 0) return refusedAnswer(refusals);
  const page = book.page(tenant, query.get('since') ?? '0', Number(limit));
  return page === undefined
    ? problemAnswer(400, 'cursor', 'since is no cursor of this book')
    : { status: 200, body: page as unknown as Json };
}

function moneyRefusals(money: Money): readonly Refusal[] {
  const cents = centsOf('amount', money);
  return typeof cents === 'bigint' ? [] : [cents];
}
