"""Names and shapes of every tensor in the published files, at any size.

Read from the module definitions and printed state_dicts of the originals; each function returns
a dict from name to shape in the order in which the original's modules register them.
"""


def linear(name, out, inp, bias=True):
    return {f"{name}.weight": (out, inp)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def torch_layer(name, d, hidden):
    """One nn.TransformerEncoderLayer."""
    return {
        f"{name}.self_attn.in_proj_weight": (3 * d, d),
        f"{name}.self_attn.in_proj_bias": (3 * d,),
        **linear(f"{name}.self_attn.out_proj", d, d),
        **linear(f"{name}.linear1", hidden, d),
        **linear(f"{name}.linear2", d, hidden),
        **norm(f"{name}.norm1", d),
        **norm(f"{name}.norm2", d),
    }


def flash(names):
    """The names of the same tensors in a model that was built with flash-attn."""
    return {
        k.replace("in_proj_weight", "Wqkv.weight").replace("in_proj_bias", "Wqkv.bias"): v
        for k, v in names.items()
    }


def scgpt(tokens, d, hidden, layers, flags=0, classes=0, batches=0):
    """`flags`: rows of the generative flag. `classes` and `batches`: what fine-tuning adds."""
    names = {"encoder.embedding.weight": (tokens, d), **norm("encoder.enc_norm", d)}
    if flags:
        names["flag_encoder.weight"] = (flags, d)
    names |= linear("value_encoder.linear1", d, 1) | linear("value_encoder.linear2", d, d)
    names |= norm("value_encoder.norm", d)
    if batches:
        names |= {
            "batch_encoder.embedding.weight": (batches, d),
            **norm("batch_encoder.enc_norm", d),
        }
        for i in range(batches):
            names |= {f"dsbn.bns.{i}.running_mean": (d,), f"dsbn.bns.{i}.running_var": (d,)}
            names[f"dsbn.bns.{i}.num_batches_tracked"] = ()
    for i in range(layers):
        names |= torch_layer(f"transformer_encoder.layers.{i}", d, hidden)
    wide = 2 * d if batches else d
    for head in ["fc", "zero_logit"] if batches else ["fc"]:
        names |= linear(f"decoder.{head}.0", d, wide) | linear(f"decoder.{head}.2", d, d)
        names |= linear(f"decoder.{head}.4", 1, d)
    if classes:
        names |= classifier("cls_decoder", d, classes)
    names |= linear("mvc_decoder.gene2query", d, d) | linear("mvc_decoder.W", wide, d, bias=False)
    if batches:
        names |= linear("mvc_decoder.W_zero_logit", wide, d)
        names |= classifier("grad_reverse_discriminator", d, batches)
    return names


def classifier(name, d, classes):
    names = linear(f"{name}._decoder.0", d, d) | norm(f"{name}._decoder.2", d)
    names |= linear(f"{name}._decoder.3", d, d) | norm(f"{name}._decoder.5", d)
    return names | linear(f"{name}.out_layer", classes, d)


def cellplm(genes, d, layers, latent, clusters, batches, datasets, places=10_000):
    """`clusters` 0: the VAE. The head's 128 and the posterior's 512 are fixed in the original."""
    names = norm("embedder.norm0", d) | linear("embedder.extra_linear.0", d, d)
    names |= norm("embedder.extra_linear.3", d) | {"embedder.pe_enc.missing_pe": (d,)}
    names |= {"embedder.pe_enc.pe_enc.weight": (places, d), "embedder.feat_enc.emb": (genes, d)}
    for i in range(layers):
        layer = f"encoder.layers.{i}"
        for part in ["query", "key", "value", "out"]:
            names |= linear(f"{layer}.self_attn.{part}_projection", d, d)
        names |= linear(f"{layer}._ff_block.0", 2 * d, d) | linear(f"{layer}._ff_block.3", d, 2 * d)
        names |= norm(f"{layer}.norm1", d) | norm(f"{layer}.norm2", d)
    at = "latent.layers.1"
    if clusters:
        names |= linear(f"{at}.inference.inference_qyx.0.logits", clusters, d)
        names |= linear(f"{at}.inference.inference_qzyx.0", 512, d + clusters)
        for part in ["mu", "var"]:
            names |= linear(f"{at}.inference.inference_qzyx.2.{part}", latent, 512)
        for part in ["y_mu", "y_var"]:
            names |= linear(f"{at}.inference.{part}", latent, clusters)
    else:
        names |= linear(f"{at}.hid_2mu", latent, d) | linear(f"{at}.hid_2sigma", latent, d)
    names |= linear("decoder.layers.0.0", d, latent) | {"decoder.layers.0.1.weight": (1,)}
    names |= norm("decoder.layers.0.3", d)
    for part, rows in [("batch", batches), ("dataset", datasets)]:
        cov = f"decoder.covariate_layers.0.{part}"
        names |= {f"{cov}.0.weight": (rows, d), f"{cov}.1.weight": (1,), **norm(f"{cov}.2", d)}
    names |= {"decoder.out_layer.dec_disp": (genes,), **linear("decoder.out_layer.dec_1", 128, d)}
    names |= linear("decoder.out_layer.dec_mean.0", genes, 128)
    return names | norm("pre_latent_norm.norm", d)


def uce(rows, token, d, hidden, layers, out, decoder=1024, binary=(2048, 512, 128), places=1536):
    def block(name, o, i):
        return linear(f"{name}.0", o, i) | norm(f"{name}.1", o)

    names = {
        "pos_encoder.pe": (places, 1, d),
        **linear("encoder.0", d, token),
        **norm("encoder.2", d),
    }
    for i in range(layers):
        names |= torch_layer(f"transformer_encoder.layers.{i}", d, hidden)
    names |= block("decoder.0", decoder, d) | block("decoder.1", out, decoder)
    names |= block("decoder.2", out, out) | linear("decoder.3", out, out)
    a, b, c = binary
    names |= block("binary_decoder.0", a, out + d) | block("binary_decoder.1", b, a)
    names |= block("binary_decoder.2", c, b) | linear("binary_decoder.3", 1, c)
    names |= linear("gene_embedding_layer.0", d, token) | norm("gene_embedding_layer.2", d)
    return names | {"pe_embedding.weight": (rows, token)}


def scprint(genes, d, layers, classes, inner, batches):
    """scPRINT v1; `classes` maps a label to its number of leaves, `batches` is the discriminator's."""

    def encoder(name):
        return linear(f"{name}.0", d, 1) | norm(f"{name}.1", d) | linear(f"{name}.4", d, d)

    names = {"gene_encoder.embedding.weight": (genes, d), **encoder("expr_encoder.encoder")}
    names |= {
        "pos_encoder.pe": (genes, 1, d),
        "class_encoder.embedding.weight": (len(classes) + 1, d),
    }
    names |= encoder("depth_encoder.encoder")
    for i in range(layers):
        block = f"transformer.blocks.{i}"
        names |= linear(f"{block}.mixer.Wqkv", 3 * d, d) | linear(f"{block}.mixer.out_proj", d, d)
        names |= norm(f"{block}.norm1", d) | linear(f"{block}.mlp.fc1", 4 * d, d)
        names |= linear(f"{block}.mlp.fc2", d, 4 * d) | norm(f"{block}.norm2", d)
    names |= norm("transformer.norm", d)
    names |= linear("expr_decoder.fc.0", d, d) | norm("expr_decoder.fc.1", d)
    names |= linear("expr_decoder.fc.4", d, d) | norm("expr_decoder.fc.5", d)
    names |= linear("expr_decoder.pred_var_zero", 3, d)
    for label, leaves in classes.items():
        at = f"cls_decoders.{label}"
        names |= linear(f"{at}.decoder.0", inner, d) | norm(f"{at}.decoder.1", inner)
        names |= linear(f"{at}.out_layer", leaves, inner)
    if batches:
        at = "grad_reverse_discriminator_loss"
        for i in [0, 3]:
            names |= linear(f"{at}.decoder.{i}", d, d) | norm(f"{at}.decoder.{i + 1}", d)
        names |= linear(f"{at}.out_layer", batches, d)
    return names


def nicheformer(tokens, d, hidden, layers, context, labels=164):
    """The LightningModule. `encoder_layer` is the template from which torch copied the layers."""
    names = torch_layer("encoder_layer", d, hidden)
    for i in range(layers):
        names |= torch_layer(f"encoder.layers.{i}", d, hidden)
    names |= {"embeddings.weight": (tokens + 5, d), "positional_embedding.weight": (context, d)}
    names |= linear("classifier_head", tokens, d) | linear("pooler_head", d, d)
    return names | linear("cls_head", labels, d)


def nicheformer_hf(names, context):
    """The masked-language model on Hugging Face: a prefix, a position buffer, no unused heads."""
    out = {}
    for name, shape in names.items():
        if not name.startswith(("pooler_head", "cls_head")):
            own = name.startswith("classifier_head")
            out[name if own else f"nicheformer.{name}"] = shape
    return out | {"nicheformer.pos": (context,)}


def scclip(towers, out):
    """`towers`: for atac and rna the width d, layers, hidden, patches and features of a patch."""
    names = {}
    for tower, (d, layers, hidden, patches, patch) in towers.items():
        at = f"{tower}_model"
        names |= {f"{at}.embeddings.cls_token": (1, 1, d)}
        names |= {f"{at}.embeddings.position_embeddings": (1, patches + 1, d)}
        names |= linear(f"{at}.embeddings.patch_embeddings.projection", d, patch)
        for i in range(layers):
            layer = f"{at}.encoder.layer.{i}"
            for part in ["query", "key", "value"]:
                names |= linear(f"{layer}.attention.attention.{part}", d, d)
            names |= linear(f"{layer}.attention.output.dense", d, d)
            names |= linear(f"{layer}.intermediate.dense", hidden, d)
            names |= linear(f"{layer}.output.dense", d, hidden)
            names |= norm(f"{layer}.layernorm_before", d) | norm(f"{layer}.layernorm_after", d)
        names |= norm(f"{at}.layernorm", d) | linear(f"{at}.pooler.dense", d, d)
    for tower, (d, *_) in towers.items():
        names |= linear(f"{tower}_projection", out, d, bias=False)
    return names | {"criterion.logit_scale": ()}
