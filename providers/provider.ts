/** The provider contract as Merit's own rooms import it. It is a package of its own, so that a provider needs nothing else of Merit. */
export * from './merit-provider/src/index.ts';
