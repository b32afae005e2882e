import { contentHash, type Json } from '../../core/canonical.ts';
import type { Findings } from './findings.ts';
import { isObject, type JsonObject } from './lines.ts';
import { type Receipt, type ReceiptEvent, stateOf } from './receipt-parts.ts';

/**
 * The ledger's rows against the events that name them: the same rows, each pending one resolved once, capacity back to the
 * last milli-unit, and of the money exactly the cost.
 */
interface Row {
  readonly id: string;
  readonly kind: string;
  readonly debit: string;
  readonly credit: string;
  readonly amount: bigint;
  readonly pendingId: string | undefined;
}

export function checkMoney(receipt: Receipt, findings: Findings): void {
  const stored = new Map(receipt.transfers.map(({ line, transfer }) => [String(transfer.id), { line, transfer }]));
  const rows = new Map<string, Row>();
  for (const { line, transfer } of receipt.transfers) {
    const row = rowOf(transfer);
    if (row === undefined) findings.tampered(line, 'transfer', 'is not a transfer');
    else rows.set(row.id, row);
  }
  const named = new Set<string>();
  for (const event of receipt.story) {
    for (const transfer of transfersOf(event)) {
      const id = isObject(transfer) ? String(transfer.id) : '';
      const row = stored.get(id);
      if (row === undefined || contentHash(row.transfer) !== contentHash(transfer)) {
        findings.tampered(event.line, 'event.data.transfers', `names ${id}, which is not so in the ledger`, event.seq);
      }
      if (named.has(id)) findings.tampered(event.line, 'event.data.transfers', `names ${id} again`, event.seq);
      named.add(id);
    }
  }
  for (const [id, { line }] of stored) {
    if (!named.has(id)) findings.tampered(line, 'transfer', 'is named by no event');
  }
  checkResolutions(receipt, rows, stored, findings);
  checkAccounts(receipt, rows, stored, findings);
  checkAttempts(receipt, rows, findings);
}

function transfersOf(event: ReceiptEvent): readonly Json[] {
  const { transfers } = event.data;
  return Array.isArray(transfers) ? transfers : [];
}

const AMOUNT = /^(0|[1-9][0-9]{0,18})$/;

function rowOf(transfer: JsonObject): Row | undefined {
  const { id, kind, debit, credit, amount, pendingId } = transfer;
  const resolves = kind === 'post' || kind === 'void' || kind === 'expire';
  const members = Object.keys(transfer).sort().join();
  if (members !== (resolves ? 'amount,credit,debit,id,kind,pendingId' : 'amount,credit,debit,id,kind'))
    return undefined;
  if (kind !== 'pending' && kind !== 'direct' && !resolves) return undefined;
  if (![id, debit, credit].every((text) => typeof text === 'string')) return undefined;
  if (typeof amount !== 'string' || !AMOUNT.test(amount) || (resolves && typeof pendingId !== 'string'))
    return undefined;
  return {
    id: id as string,
    kind,
    debit: debit as string,
    credit: credit as string,
    amount: BigInt(amount),
    pendingId: resolves ? (pendingId as string) : undefined,
  };
}

type Stored = ReadonlyMap<string, { readonly line: number }>;

function checkResolutions(receipt: Receipt, rows: ReadonlyMap<string, Row>, stored: Stored, findings: Findings): void {
  const resolved = new Set<string>();
  for (const row of rows.values()) {
    if (row.pendingId === undefined) continue;
    const line = stored.get(row.id)!.line;
    const pending = rows.get(row.pendingId);
    if (pending?.kind !== 'pending') findings.tampered(line, 'transfer.pendingId', 'names no pending transfer');
    else if (pending.debit !== row.debit || pending.credit !== row.credit) {
      findings.tampered(line, 'transfer.debit', 'is not the account of its pending transfer');
    } else if (row.kind === 'post' ? row.amount > pending.amount : row.amount !== pending.amount) {
      findings.tampered(line, 'transfer.amount', 'does not fit its pending transfer');
    }
    if (resolved.has(row.pendingId)) findings.tampered(line, 'transfer.pendingId', 'is resolved twice');
    resolved.add(row.pendingId);
  }
  for (const row of rows.values()) {
    if (row.kind === 'pending' && !resolved.has(row.id)) {
      findings.tampered(stored.get(row.id)!.line, 'transfer', `is still pending though ${receipt.booking} has ended`);
    }
  }
}

/** Both accounts are this tenant's, and of kinds that trade with each other. */
function checkAccounts(receipt: Receipt, rows: ReadonlyMap<string, Row>, stored: Stored, findings: Findings): void {
  for (const row of rows.values()) {
    const kinds = [row.debit, row.credit].map((id) => id.split(':')[0]).sort();
    const tenants = [row.debit, row.credit].map((id) => id.split(':')[1]);
    const pair = kinds.join();
    if (pair !== 'capacity,quota' && pair !== 'budget,spend') {
      findings.tampered(stored.get(row.id)!.line, 'transfer', 'joins accounts that do not trade');
    }
    if (tenants.some((tenant) => tenant !== receipt.tenant)) {
      findings.tampered(stored.get(row.id)!.line, 'transfer', 'is of another tenant');
    }
  }
}

/** What an attempt took, from the event that reserved it to the one that ended it. */
interface Open {
  readonly reserved: ReceiptEvent;
  readonly ids: Set<string>;
}

function checkAttempts(receipt: Receipt, rows: ReadonlyMap<string, Row>, findings: Findings): void {
  let open: Open | undefined;
  for (const event of receipt.story) {
    const state = stateOf(event.type);
    const ids = transfersOf(event).flatMap((transfer) => (isObject(transfer) ? [String(transfer.id)] : []));
    if (state === 'reserved') {
      open = { reserved: event, ids: new Set(ids) };
      checkReserved(event, ids, rows, findings);
      continue;
    }
    if (open === undefined) {
      if (ids.length > 0)
        findings.tampered(event.line, 'event.data.transfers', 'move what was not reserved', event.seq);
      continue;
    }
    for (const id of ids) open.ids.add(id);
    const ends = state !== undefined && !HOLDING.has(state);
    if (!ends) continue;
    checkEnd(open, event, rows, findings);
    open = undefined;
  }
}

const HOLDING: ReadonlySet<string> = new Set([
  'reserved',
  'requesting',
  'confirming',
  'applied',
  'draining',
  'releasing',
]);

function checkReserved(
  event: ReceiptEvent,
  ids: readonly string[],
  rows: ReadonlyMap<string, Row>,
  findings: Findings,
): void {
  const placement = isObject(event.data.placement) ? event.data.placement : {};
  const taken = (kind: string) =>
    ids
      .flatMap((id) => rows.get(id) ?? [])
      .filter((row) => row.kind === 'pending' && row.debit.startsWith(`${kind}:`))
      .reduce((sum, row) => sum + row.amount, 0n);
  if (String(taken('budget')) !== placement.holdCents) {
    findings.tampered(event.line, 'event.data.placement.holdCents', 'is not the money made pending', event.seq);
  }
  const units = String(taken('capacity'));
  if (units !== placement.gpuMilli && units !== placement.cpuMilli) {
    findings.tampered(event.line, 'event.data.placement', 'is not the capacity made pending', event.seq);
  }
}

function checkEnd(open: Open, end: ReceiptEvent, rows: ReadonlyMap<string, Row>, findings: Findings): void {
  const tell = (field: string, problem: string) => findings.tampered(end.line, `event.data.${field}`, problem, end.seq);
  const moved = [...open.ids]
    .flatMap((id) => rows.get(id) ?? [])
    .filter(({ kind }) => kind === 'post' || kind === 'direct');
  const nets = new Map<string, bigint>();
  for (const row of moved) {
    const taking = row.debit.startsWith('capacity:') || row.debit.startsWith('budget:');
    const pair = taking ? `${row.debit} ${row.credit}` : `${row.credit} ${row.debit}`;
    nets.set(pair, (nets.get(pair) ?? 0n) + (taking ? row.amount : -row.amount));
  }
  let spent = 0n;
  for (const [pair, net] of nets) {
    if (pair.startsWith('budget:')) spent += net;
    else if (net !== 0n) tell('transfers', `leave ${net} of ${pair} taken`);
  }
  const { cost } = end.data;
  if (cost === undefined) {
    if (spent !== 0n) tell('cost', 'is missing, though money was spent');
    return;
  }
  checkCost(open, cost, spent, moved, tell);
}

/** Milli-units × milliseconds × cents an hour, in cents: 1000 × 3,600,000. */
const COST_DIVISOR = 3_600_000_000n;

function checkCost(
  open: Open,
  cost: Json,
  spent: bigint,
  moved: readonly Row[],
  tell: (field: string, problem: string) => void,
): void {
  if (!isObject(cost)) {
    tell('cost', 'is not a cost');
    return;
  }
  const figures = ['cents', 'milliseconds', 'centsPerUnitHour', 'unitsMilli'].map((name) => String(cost[name]));
  if (!figures.every((figure) => AMOUNT.test(figure))) {
    tell('cost', 'has a figure that is no amount');
    return;
  }
  const [cents, ms, rate, units] = figures.map(BigInt) as [bigint, bigint, bigint, bigint];
  if (cents !== spent) tell('cost.cents', `is ${cents}, but posted less refunded is ${spent}`);
  const used = (units * ms * rate + COST_DIVISOR - 1n) / COST_DIVISOR;
  const posted = moved
    .filter((row) => row.kind === 'post' && row.debit.startsWith('budget:'))
    .reduce((sum, row) => sum + row.amount, 0n);
  const placement = isObject(open.reserved.data.placement) ? open.reserved.data.placement : {};
  // Money alone costs what whoever had it says: at most what was held. All else is rounded up to a whole cent, never more than was held.
  const alone = placement.provider === 'finance' && placement.gpuMilli === '0' && placement.cpuMilli === '0';
  if (alone ? cents > posted : cents !== (used < posted ? used : posted))
    tell('cost.cents', alone ? 'is more than was held' : 'is not units × time × price');
  if (cost.currency !== placement.currency) tell('cost.currency', 'is not the placement’s');
  if (placement.centsPerUnitHour !== undefined && String(placement.centsPerUnitHour) !== String(rate)) {
    tell('cost.centsPerUnitHour', 'is not the placement’s');
  }
  if (String(units) !== placement.gpuMilli && String(units) !== placement.cpuMilli) {
    tell('cost.unitsMilli', 'is not the placement’s');
  }
}
