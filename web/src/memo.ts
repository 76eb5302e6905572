/** Draw a component again only when one of its properties changed (compared one by one). */
import { Component, h, type ComponentType } from "preact";

export function memo<P extends object>(Inner: ComponentType<P>): ComponentType<P> {
  return class Memo extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>) {
      const keys = new Set([...Object.keys(this.props), ...Object.keys(next)]) as Set<keyof P>;
      return [...keys].some((key) => this.props[key] !== next[key]);
    }
    override render(props: P) {
      return h(Inner as ComponentType<any>, props);
    }
  };
}
