#!/usr/bin/env bash
# Figures 2 and 3: tickets of Transformer Base on WMT'14 English-German, newstest2014 (sections 3.2 and 4.1.2).
#   bash recipes/wmt14_transformer_base.sh [option ...] [NAME=VALUE ...] [-- more options of fairseq-lottery]
# Case-sensitive tokenised BLEU of the mean of the last checkpoints; 8 GPUs by default. Only the Transformer layers
# pruned, embeddings whole (section 4.1.2): SCOPE=layers OUT=runs/wmt14-base-layers. --small: number words on 2 cores,
# 3 minutes. Run again, it is resumed.
# shellcheck disable=SC2034 # the settings are read in wmt14.sh
set -euo pipefail
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=recipes/wmt14.sh
source recipes/wmt14.sh
recipe wmt14_transformer_base "$@"

# The paper's  name         value                                 with --small
setting        KINDS        "winning random one-shot no-rewind"   "winning random"
setting        ARCH         transformer_wmt_en_de
setting        WIDTH        512                                   64
setting        FFN          2048                                  128
setting        HEADS        8                                     4
setting        DROPOUT      0.1                                   0
setting        OUT          runs/wmt14-base                       runs/wmt14-base-small
wmt14_settings
ready
update_freq=$(divided BATCH_GPUS) # batches that each GPU adds up before an update

go
