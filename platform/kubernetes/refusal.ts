/** One wrong field of an object, as Kubernetes' validation names it. */
export interface FieldCause {
  readonly field: string;
  readonly message: string;
}

/** An answer of Kubernetes that is none of success: its `Status`, or what stood in its place. */
export class KubernetesRefusal extends Error {
  override name = 'KubernetesRefusal';
  readonly status: number;
  /** Kubernetes' own word, as `AlreadyExists`; '' where it said none. */
  readonly reason: string;
  readonly causes: readonly FieldCause[];
  /** It asks to be left alone for so long. */
  readonly retryAfterMs: number | undefined;

  constructor(status: number, body: string, retryAfterMs: number | undefined) {
    const said = parsed(body);
    super(said?.message ?? (body.trim() === '' ? `Kubernetes answered ${status}` : body.trim()));
    this.status = status;
    this.reason = said?.reason ?? '';
    this.causes = (said?.details?.causes ?? []).flatMap(({ field, message }) =>
      typeof field === 'string' && typeof message === 'string' ? [{ field, message }] : [],
    );
    const seconds = said?.details?.retryAfterSeconds;
    this.retryAfterMs = retryAfterMs ?? (typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : undefined);
  }
}

interface Status {
  readonly message?: string;
  readonly reason?: string;
  readonly details?: {
    readonly causes?: readonly { readonly field?: unknown; readonly message?: unknown }[];
    readonly retryAfterSeconds?: unknown;
  };
}

/** undefined: it is no `Status`; a proxy or a door before Kubernetes answered. */
function parsed(body: string): Status | undefined {
  try {
    const value = JSON.parse(body) as (Status & { readonly kind?: unknown }) | null;
    return value?.kind === 'Status' ? value : undefined;
  } catch {
    return undefined;
  }
}
