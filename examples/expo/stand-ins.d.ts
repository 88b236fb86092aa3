// Stand-ins for the packages of Expo and React Native, which this check does not install: only what the source uses.
declare module "expo/fetch" {
  export const fetch: typeof globalThis.fetch;
}

declare module "expo-file-system" {
  export class File extends Blob {
    constructor(uri: string);
  }
}

declare module "expo-image-picker" {
  export function launchImageLibraryAsync(options: {
    mediaTypes: string[];
  }): Promise<{ assets: { uri: string; mimeType?: string }[] | null }>;
}

declare module "react" {
  export function useMemo<T>(make: () => T, dependencies: unknown[]): T;
  export function useState<T>(initial: T): [T, (value: T) => void];
  export function useState<T>(): [T | undefined, (value: T) => void];
}

declare module "react-native" {
  export function Button(props: { title: string; onPress: () => unknown }): null;
  export function Text(props: { children: string }): null;
  export function View(props: { children: unknown }): null;
  export function Image(props: { source: { uri: string }; style: { width: number; height: number } }): null;
}

declare namespace JSX {
  type Element = unknown;
  interface ElementChildrenAttribute {
    children: unknown;
  }
  interface IntrinsicElements {}
}
