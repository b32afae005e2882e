import type { Json } from '../../core/canonical.ts';
import { contentHash, sha256Hex } from '../../core/canonical.ts';
import { check } from '../../core/schema.ts';
import { type Answer, problemAnswer, type Route, refusedAnswer } from '../simulator-server.ts';
import { MonthReport, ReportPart } from './wire.ts';

/** A month that Finance was told of, with its file. */
export interface ToldMonth {
  readonly report: MonthReport;
  readonly text: string;
}

const MAX_PARTS = 10_000;

/** The simulator's shelf of reports; it lives as long as its process. */
export class ReportShelf {
  readonly #parts = new Map<string, Map<number, string>>();
  readonly #reports = new Map<string, ToldMonth>();

  get(id: string): ToldMonth | undefined {
    return this.#reports.get(id);
  }

  routes(): readonly (Route & { readonly name: 'report' | 'report-part' })[] {
    return [
      {
        name: 'report-part',
        method: 'POST',
        path: /^\/v1\/reports\/([A-Za-z0-9._:-]{1,128})\/parts\/([1-9][0-9]{0,4})$/,
        handle: ({ params, body }) => this.#part(params[0]!, Number(params[1]), body),
      },
      { name: 'report', method: 'POST', path: /^\/v1\/reports$/, handle: ({ body }) => this.#report(body) },
    ];
  }

  #part(id: string, n: number, body: Json): Answer {
    const refusals = check(ReportPart, body);
    if (refusals.length > 0) return refusedAnswer(refusals);
    const { text } = body as { text: string };
    const parts = this.#parts.get(id) ?? new Map<number, string>();
    this.#parts.set(id, parts);
    if (parts.size >= MAX_PARTS) return problemAnswer(503, 'full', `a report has ${MAX_PARTS} parts at most`);
    // Until the report is there, a part may be told anew: its file may have grown.
    if (this.#reports.has(id) && parts.get(n) !== text) return problemAnswer(409, 'differs', 'the report is there');
    parts.set(n, text);
    return { status: 200, body: { id } };
  }

  #report(body: Json): Answer {
    const refusals = check(MonthReport, body);
    if (refusals.length > 0) return refusedAnswer(refusals);
    const report = body as unknown as MonthReport;
    const before = this.#reports.get(report.id);
    if (before !== undefined && contentHash(before.report) !== contentHash(report))
      return problemAnswer(409, 'differs', 'another report stands under this id');
    const parts = this.#parts.get(report.id);
    const text = Array.from({ length: report.parts }, (_, i) => parts?.get(i + 1) ?? '').join('');
    if (sha256Hex(Buffer.from(text, 'utf8')) !== report.sha256)
      return problemAnswer(409, 'parts', 'the parts do not come to the hash');
    if (before === undefined) this.#reports.set(report.id, { report, text });
    return { status: 200, body: { id: report.id } };
  }
}
