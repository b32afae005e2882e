import { BUNDLE_FORMAT, type BundleSummary, bundleChecker } from './bundle.ts';
import { type Witnessed, witnessCheck } from './bundle-witness.ts';
import type { Coverage } from './coverage.ts';
import { type Finding, type Findings, newFindings } from './findings.ts';
import { type JsonObject, lineSplitter, readLine } from './lines.ts';
import { type ReceiptSummary, receiptChecker } from './receipt-check.ts';
import { RECEIPT_FORMAT } from './receipt-parts.ts';
import type { Roots } from './roots.ts';

/**
 * Offline check of an audit bundle or a receipt against pinned roots: no server, no network, no clock. Codes are the exit
 * codes of `merit audit verify`:
 *    0  everything in it holds
 *    2  no root was given: nothing can be said
 *   10  tampered: something in it is not what was signed, or contradicts itself
 *   11  empty or incomplete: not such a file, cut short, fewer events than its header says, or a job that has not ended; or it does not cover the state
 *   12  whole in itself, but shorter than its witness
 * A gap or a swap among the events is 10; events that are missing at the end are 11.
 */
export interface Verification {
  readonly code: 0 | 2 | 10 | 11 | 12;
  readonly findings: readonly Finding[];
  /** All of them; `findings` keeps the first MAX_FINDINGS. */
  readonly totalFindings: number;
  readonly summary: BundleSummary | ReceiptSummary | undefined;
}

export interface FileVerifier {
  push(chunk: Uint8Array): void;
  end(): Verification;
}

interface Checker {
  line(number: number, line: JsonObject): void;
  end(): BundleSummary | ReceiptSummary;
}

/** What a chain is to be held against, brought from elsewhere. */
export interface Beside {
  readonly witnessed?: Witnessed | undefined;
  readonly coverage?: Coverage | undefined;
}

export function verifyFile(bytes: Uint8Array, roots: Roots, beside: Beside = {}): Verification {
  const verifier = fileVerifier(roots, beside);
  verifier.push(bytes);
  return verifier.end();
}

/** The same for a stream. A bundle is checked in constant memory but for one number a subject; a receipt is kept. */
export function fileVerifier(roots: Roots, { witnessed, coverage }: Beside = {}): FileVerifier {
  const findings = newFindings();
  const witness = witnessed === undefined ? undefined : witnessCheck(witnessed, findings);
  let number = 0;
  let started = false;
  let foreign = false;
  let checker: Checker | undefined;

  const onLine = (bytes: Uint8Array | undefined) => {
    number++;
    if (bytes === undefined) {
      findings.tampered(number, '', 'is longer than any line we write');
      return;
    }
    const line = readLine(bytes);
    if (typeof line === 'string') {
      findings.tampered(number, '', line);
      return;
    }
    if (number > 1) {
      checker?.line(number, line);
      return;
    }
    if (line.type === 'header' && line.format === BUNDLE_FORMAT) {
      checker = bundleChecker(line, roots, findings, { witness, coverage });
    } else if (line.type === 'header' && line.format === RECEIPT_FORMAT)
      checker = receiptChecker(line, roots, findings);
    else findings.tampered(1, 'format', 'is neither a Merit audit bundle nor a receipt');
  };
  const splitter = lineSplitter(onLine);

  return {
    push: (chunk) => {
      if (chunk.length === 0 || foreign) return;
      if (!started) {
        started = true;
        foreign = chunk[0] !== 0x7b;
        if (foreign) {
          findings.incomplete(1, '', 'does not start with {');
          return;
        }
      }
      splitter.push(chunk);
    },
    end: () => {
      if (roots.keys.size === 0) return { code: 2, findings: [], totalFindings: 0, summary: undefined };
      if (!started) findings.incomplete(0, '', 'is empty');
      const cut = !splitter.end();
      if (cut) findings.incomplete(number + 1, '', 'is cut: the last line has no end');
      const summary = checker?.end();
      const code = cut || foreign ? 11 : codeOf(findings);
      return { code, findings: findings.list, totalFindings: findings.total, summary };
    },
  };
}

function codeOf(findings: Findings): 0 | 10 | 11 | 12 {
  if (findings.has('tampered')) return 10;
  if (findings.has('incomplete')) return 11;
  return findings.has('shorter') ? 12 : 0;
}
