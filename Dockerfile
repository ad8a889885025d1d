# tunesmith on CPUs. The runs go to /tunesmith/runs, which is a volume:
#   docker build -t tunesmith .
#   docker run --rm -v "$PWD":/tunesmith/data:ro -v tunesmith-runs:/tunesmith/runs tunesmith \
#     run data/reviews.csv --task classify --text review --label sentiment --output-dir runs/reviews
FROM python:3.11-slim

WORKDIR /opt/tunesmith
COPY constraints.txt pyproject.toml README.md LICENSE NOTICE ./
COPY src src
# torch first, from the index of builds without CUDA, which are a tenth of the others' size
RUN grep '^torch==' constraints.txt > torch.txt \
    && pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu -r torch.txt \
    && pip install --no-cache-dir -c constraints.txt '.[gguf]'

# whoever runs models of strangers is not root; a new volume takes its owner from this folder
RUN useradd --uid 1000 --create-home tunesmith && install -d -o tunesmith /tunesmith/runs
USER 1000
WORKDIR /tunesmith
VOLUME /tunesmith/runs
ENTRYPOINT ["tunesmith"]
CMD ["--help"]
