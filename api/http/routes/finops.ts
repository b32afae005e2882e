import { Readable } from 'node:stream';
import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { parseRfc3339 } from '../../../core/rfc3339.ts';
import { Type } from '../../../core/schema.ts';
import { billingMonth } from '../../../ledger/finops/billing-month.ts';
import type { BillingMonth } from '../../../ledger/finops/focus.ts';
import type { RouteContext } from '../context.ts';
import { callerOf, whileAnswering } from '../guard.ts';
import { AnyView, replies, text } from '../schemas.ts';

const tags = ['finops'];

const MonthParams = Type.Object(
  { month: Type.String({ maxLength: 7, description: 'a calendar month in UTC: 2026-11' }) },
  { additionalProperties: false },
);

const ChargesQuery = Type.Object(
  {
    format: Type.Optional(Type.Enum(['focus'], { description: 'FOCUS 1.2 as CSV; the default' })),
    to: Type.Optional(Type.String({ maxLength: 40, description: 'only what was settled before, RFC 3339' })),
  },
  { additionalProperties: false },
);

/** What was spent in a month: sums held against the ledger, and every charge. */
export function finopsRoutes({ app, services }: RouteContext): void {
  app.get(
    '/v1/finops/months/:month',
    {
      schema: {
        summary: 'What each division spent in a month, on what, and whether that is what the ledger has',
        tags,
        params: MonthParams,
        response: replies({ 200: AnyView }),
      },
    },
    (request, reply) => {
      const { month } = request.params as { month: string };
      return services.finops.month(callerOf(services, request), month, requireMonth(month), whileAnswering(reply.raw));
    },
  );
  app.get(
    '/v1/finops/months/:month/charges',
    {
      schema: {
        summary: 'The charges of a month, a row for each attempt of a job and UTC day, in the order of settling',
        tags,
        params: MonthParams,
        querystring: ChargesQuery,
        response: text('text/csv'),
      },
    },
    (request, reply) => {
      const { month } = request.params as { month: string };
      const { to } = request.query as { to?: string };
      const rows = services.finops.focus(
        callerOf(services, request),
        requireMonth(month),
        to === undefined ? undefined : timeOf(to),
      );
      return reply
        .header('content-type', 'text/csv; charset=utf-8; header=present')
        .header('content-disposition', `attachment; filename="merit-focus-${month}.csv"`)
        .send(Readable.from(rows, { objectMode: false }));
    },
  );
}

function requireMonth(text: string): BillingMonth {
  const month = billingMonth(text);
  if (month !== undefined) return month;
  throw new RefusedInput([refuse('month_format', 'month', 'is no month of a year since 1970', 'write 2026-11')]);
}

function timeOf(to: string): number {
  const ms = parseRfc3339(to);
  if (ms !== undefined) return ms;
  throw new RefusedInput([
    refuse('time_format', 'to', 'is no RFC 3339 time with a zone', 'write 2026-11-26T08:00:00Z'),
  ]);
}
