// Products: fleets of devices that share a firmware.

import { get, post } from "./api.js";
import { go } from "./app.js";
import { dialog, empty, format, heading, html, render } from "./ui.js";

/** Shows the list. */
export async function open(root, { signal }) {
  const { products } = await get("/v1/user/products", signal);
  const create = async () => {
    const made = await dialog({
      title: "New product", yes: "Create",
      fields: [
        { name: "name", label: "Name", required: true },
        { name: "platform_id", label: "Type of its devices", value: 13, options: format.platforms },
        { name: "description", label: "Description", rows: 3 },
      ],
      work: ({ name, platform_id, description }) => post("/v1/user/products", { product: { name, description, platform_id: Number(platform_id) } }),
    });
    if (made) go(`/products/${made.product.id}`);
  };
  const button = html`<button type="button" class="primary" @click=${create}>New product</button>`;
  if (signal.aborted) return;
  render(html`${heading("Products", button, html`<p>Devices that share a firmware, and a team that works on them</p>`)}
    ${products.length ? html`<div class="scroll" tabindex="0" role="region" aria-label="Products"><table><thead><tr><th scope="col">Name</th><th scope="col" class="number">ID</th>
      <th scope="col">Type</th><th scope="col">Description</th></tr></thead><tbody>${products.map((product) => html`<tr><th scope="row"><a href=${`/products/${product.id}`}>${product.name}</a></th>
      <td class="number">${product.id}</td><td>${format.platform(product.platform_id)}</td><td>${product.description}</td></tr>`)}</tbody></table></div>`
      : empty("No products yet", "A product gives many devices one firmware and one place to look at them.", button)}`, root);
}
