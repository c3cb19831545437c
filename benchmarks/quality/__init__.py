"""Quality per parameter: AdaMSS with each basis beside LoRA, stock PEFT, full fine-tuning and the head alone."""
