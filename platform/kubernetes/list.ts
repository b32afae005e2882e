import type { KubernetesApi, Query } from './api.ts';
import { KubernetesRefusal } from './refusal.ts';

/** Objects of one page. */
const PAGE = 500;
const PAGES_LIMIT = 1_000;
/** A list whose pages went out of date while it was read is begun anew so often. */
const BEGINNINGS = 3;

/** What every object has. */
export interface KubernetesObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
    readonly creationTimestamp?: string;
    readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

export interface KubernetesList<T> {
  readonly items: readonly T[];
  /** What a watch goes on from. */
  readonly resourceVersion: string;
}

interface Page<T> {
  readonly items?: readonly T[];
  readonly metadata?: { readonly continue?: string; readonly resourceVersion?: string };
}

/** Every object at this path, all pages of one moment. Throws as KubernetesApi does; a list that breaks off throws. */
export async function listAll<T extends KubernetesObject>(
  api: KubernetesApi,
  path: string,
  query: Query,
  signal: AbortSignal,
): Promise<KubernetesList<T>> {
  for (let beginning = 1; ; beginning++) {
    try {
      return await listOnce(api, path, query, signal);
    } catch (error) {
      const isOutOfDate = error instanceof KubernetesRefusal && error.status === 410;
      if (!isOutOfDate || beginning === BEGINNINGS) throw error;
    }
  }
}

async function listOnce<T extends KubernetesObject>(
  api: KubernetesApi,
  path: string,
  query: Query,
  signal: AbortSignal,
): Promise<KubernetesList<T>> {
  const items: T[] = [];
  let next: string | undefined;
  for (let page = 0; page < PAGES_LIMIT; page++) {
    const told: Page<T> = await api.json({ path, query: { ...query, limit: PAGE, continue: next }, signal });
    const { items: more, metadata: { continue: rest = '', resourceVersion = '' } = {} } = told;
    if (!Array.isArray(more) || more.some((one) => typeof one?.metadata?.name !== 'string'))
      throw new SyntaxError(`the list of ${path} has no items, or one without a name`);
    items.push(...more);
    if (rest === '') return { items, resourceVersion };
    next = rest;
  }
  throw new Error(`the list of ${path} has more than ${PAGES_LIMIT} pages`);
}
