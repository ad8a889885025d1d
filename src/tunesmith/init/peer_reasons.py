"""Why keys of other tools' configurations have no place in a recipe."""

from __future__ import annotations

ITSELF = "tunesmith decides this by itself, for the rows and the machine"
UNKNOWN = "no key of a recipe means this"

_BY_REASON: dict[str, str] = {
    ITSELF: """
        sample_packing packing packing_strategy eval_sample_packing eval_packing neat_packing
        pad_to_sequence_len padding_free group_by_length flash_attention flash_attn sdp_attention
        xformers_attention attn_implementation plugins gradient_checkpointing_kwargs tf32
        dataloader_num_workers dataloader_pin_memory preprocessing_num_workers dataset_num_proc
        per_device_eval_batch_size eval_batch_size model_type tokenizer_type tokenizer_name
        tokenizer_config dataset_prepared_path overwrite_cache remove_unused_columns
        lora_fan_in_fan_out plot_loss use_cache is_llama_derived_model
    """,
    "off unless train.torch_compile or train.use_liger_kernel is true": """
        torch_compile use_liger_kernel enable_liger_kernel
    """,
    "train.save_steps saves between epochs": """
        save_steps saves_per_epoch
    """,
    "each step is logged; checkpoint and validation come after each epoch, and the checkpoint that "
    "is best on validation is kept": """
        logging_steps logging_dir logging_strategy logging_first_step save_strategy
        save_only_model evals_per_epoch eval_steps eval_strategy evaluation_strategy
        load_best_model_at_end metric_for_best_model greater_is_better
        early_stopping_threshold
    """,
    "how many processes train is said to torchrun, not in a recipe: docs/scaling.md": """
        deepspeed fsdp fsdp_config fsdp_version ddp ddp_timeout ddp_find_unused_parameters
        local_rank tensor_parallel_size context_parallel_size
    """,
    "not a part of what is trained": """
        wandb_entity wandb_watch wandb_name wandb_log_model wandb_run_id run_name hub_model_id
        push_to_hub hub_strategy overwrite_output_dir resume_from_checkpoint
        auto_resume_from_checkpoints debug strict
    """,
    "only answers are trained, never prompts": """
        train_on_inputs train_on_prompt completion_only_loss assistant_only_loss mask_history
        roles_to_train train_on_eos
    """,
    "the model's own chat template is used; `chat_template` takes a file with another": """
        template chat_template conversation clone_chat_template
    """,
    "tokens come from the model's tokenizer, and the stop token from the chat template": """
        special_tokens tokens added_tokens_overrides eos_token pad_token add_special_tokens
    """,
    "quantised weights are not trained but for `train.lora.load_in_4bit`, under adapters": """
        load_in_8bit gptq
    """,
    "4 bits are always bitsandbytes' NF4, nested, computed in bfloat16": """
        quantization_method bnb_4bit_quant_type bnb_4bit_compute_dtype use_bnb_nested_quant
        bnb_4bit_use_double_quant double_quantization quantization_type
    """,
    "train.lora has r, lora_alpha and target_modules": """
        lora_dropout lora_modules_to_save use_dora peft_use_dora use_rslora peft_use_rslora
        lora_bias lora_model_dir adapter_name_or_path loraplus_lr_ratio lora_task_type
    """,
    "download that revision, and name its folder in `model`": """
        model_revision revision_of_model
    """,
    "a share of the steps here: train.warmup_ratio": "warmup_steps",
    "training goes by epochs: train.num_train_epochs": "max_steps",
    "computed in float32 or bfloat16: train.dtype": "fp16 pure_bf16",
}

REASONS: dict[str, str] = {
    key: reason for reason, keys in _BY_REASON.items() for key in keys.split()
}
"""The reason for each key that is known to have no place."""
