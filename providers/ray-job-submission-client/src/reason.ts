import { RayJobError, type RayJobErrorCode } from './errors.ts';

const REASON_LIMIT = 400;

/**
 * Ray answers errors as text/plain: a Python traceback, often one wrapped in another ("RuntimeError: Request failed with status code
 * 400: Traceback …"), whose last line that starts with an exception's name says what went wrong.
 */
export function reasonOf(text: string): string {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const named = lines.findLast((line) =>
    /^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Timeout)\b/.test(line),
  );
  const last = named ?? lines.findLast((line) => line.length > 1) ?? '';
  return oneLine(last).slice(0, REASON_LIMIT);
}

/** Control and invisible formatting characters out, one line. */
export function oneLine(text: string): string {
  return text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
    .trim();
}

/** The typed error of a reply that is not 200. `doing` completes "while …". `mutates`: the call was not a read. */
export function errorOfReply(
  doing: string,
  status: number,
  text: string,
  options: { readonly mutates: boolean; readonly retryAfterMs: number | undefined },
): RayJobError {
  const code = codeOfReply(status, text);
  const reason = reasonOf(text);
  return new RayJobError(code, `Ray answered ${status} while ${doing}${reason === '' ? '' : `: ${reason}`}`, {
    status,
    detail: text,
    retryAfterMs: options.retryAfterMs,
    // A refusal happened before any effect; a fault or a redirect says nothing about it.
    outcomeUnknown: options.mutates && (code === 'server' || code === 'bad_reply'),
  });
}

/** Order matters: Ray wraps the agent's 400 "already exists" into a 500. Source: ray 2.60 dashboard/modules/job/job_head.py. */
function codeOfReply(status: number, text: string): RayJobErrorCode {
  if (status === 401 || status === 403) return 'auth';
  if (status === 404) return 'not_found';
  if (status === 413) return 'too_large';
  if (status === 429 || status === 408) return 'server';
  if (status >= 400 && status < 500) return 'invalid';
  if (status < 500) return 'bad_reply';
  if (/submission_id \S+ already exists/.test(text)) return 'already_exists';
  if (/Job '?[\w-]+'? does not exist/.test(text)) return 'not_found';
  if (/it is in a non-terminal state/.test(text)) return 'invalid';
  if (/Request failed with status code 4\d\d\b/.test(text)) return 'invalid';
  return 'server';
}
